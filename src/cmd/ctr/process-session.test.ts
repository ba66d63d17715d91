import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exit, TaskService } from "../../core/tasks/tasks.ts";
import { OutputUnread } from "../shared/unread.ts";
import { runForeground, type Session } from "./process-session.ts";
import type { ClientStdio } from "./stdio.ts";

/** A process that ends by the signals `ends`, and whose output nobody reads. */
function unread(
  execId: string,
  ends: readonly number[],
  keep = false,
): { session: Session; signals: number[] } {
  const signals: number[] = [];
  let exit = (_: Exit): void => {};
  const ended = new Promise<Exit>((resolve) => {
    exit = resolve;
  });
  const tasks = {
    wait: () => ended,
    start: async () => 1,
    async kill(_call: unknown, _id: string, _exec: string, signal: number) {
      signals.push(signal);
      if (ends.includes(signal)) exit({ pid: 1, status: 128 + signal, exitedAt: 0n });
    },
  } as unknown as TaskService;
  const io: ClientStdio = {
    stdio: { stdin: "", stdout: "", stderr: "", terminal: false },
    opened() {},
    unread: Promise.resolve(),
    drained: async () => {},
    copyStdin() {},
    dispose() {},
    abandon() {},
  };
  const call = { detached: () => call } as unknown as Session["call"];
  return { session: { tasks, call, id: "c", execId, io, terminal: false, keep }, signals };
}

test("a process whose output nobody reads is ended, gently where it minds", async () => {
  const exec = unread("e1", [13]);
  let cleaned = false;
  const end = async (): Promise<void> => {
    cleaned = true;
  };
  assert.equal((await runForeground(exec.session, true, undefined, end)).status, 141);
  assert.deepEqual([exec.signals, cleaned], [[13], true]);

  const init = unread("", [15]);
  assert.equal((await runForeground(init.session, true)).status, 141);
  assert.deepEqual(init.signals, [15]);

  const stubborn = unread("", [9]);
  assert.equal((await runForeground(stubborn.session, true)).status, 141);
  assert.deepEqual(stubborn.signals, [15, 9]);
});

test("one that is kept goes on", async () => {
  const kept = unread("", [], true);
  await assert.rejects(runForeground(kept.session, true), OutputUnread);
  assert.deepEqual(kept.signals, []);
});
