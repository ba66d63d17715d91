import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import { type ProcessEvent, type ProcessPhase, transition } from "./state.ts";

const exit = { pid: 7, status: 3, exitedAt: 9n };
const phases: Record<ProcessPhase["tag"], ProcessPhase> = {
  added: { tag: "added" },
  created: { tag: "created", pid: 7 },
  running: { tag: "running", pid: 7 },
  paused: { tag: "paused", pid: 7 },
  stopped: { tag: "stopped", exit },
  deleted: { tag: "deleted", exit },
};
const events: Record<ProcessEvent["tag"], ProcessEvent> = {
  started: { tag: "started", pid: 7 },
  paused: { tag: "paused" },
  resumed: { tag: "resumed" },
  exited: { tag: "exited", exit },
  deleted: { tag: "deleted" },
};
const no: ErrorCode = "failed-precondition";
const gone: ErrorCode = "not-found";
const table: Record<ProcessPhase["tag"], Record<ProcessEvent["tag"], ProcessPhase["tag"] | ErrorCode>> = {
  added: { started: "running", paused: no, resumed: no, exited: "stopped", deleted: "deleted" },
  created: { started: "running", paused: no, resumed: no, exited: "stopped", deleted: no },
  running: { started: no, paused: "paused", resumed: no, exited: "stopped", deleted: no },
  paused: { started: no, paused: no, resumed: "running", exited: "stopped", deleted: no },
  stopped: { started: no, paused: no, resumed: no, exited: "stopped", deleted: "deleted" },
  deleted: { started: gone, paused: gone, resumed: gone, exited: gone, deleted: gone },
};

for (const [from, row] of Object.entries(table)) {
  for (const [event, want] of Object.entries(row)) {
    test(`${from} + ${event} = ${want}`, () => {
      let got: string;
      try {
        got = transition(phases[from as ProcessPhase["tag"]], events[event as ProcessEvent["tag"]]).tag;
      } catch (error) {
        got = codeOf(error);
      }
      assert.equal(got, want);
    });
  }
}
