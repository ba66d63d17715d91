import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { noLog } from "../../core/log.ts";
import { SpareShims } from "./spares.ts";

/** A program that stands in for the shim: it says that it waits, answers a line, and says that it ended. */
function program(t: TestContext): { readonly path: string; readonly states: () => string[] } {
  const dir = mkdtempSync(join(tmpdir(), "gantry-spares-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "shim");
  writeFileSync(
    path,
    `#!/bin/sh
me=${dir}/$$.state
echo waits > $me.new; mv $me.new $me
if read line; then echo serves > $me; echo '{"status":"ok","pid":1}'; else echo ended > $me; fi
`,
  );
  chmodSync(path, 0o755);
  const states = (): string[] =>
    readdirSync(dir)
      .filter((name) => name.endsWith(".state"))
      .map((name) => readFileSync(join(dir, name), "utf8").trim())
      .sort();
  return { path, states };
}

const message = {
  namespace: "ns",
  id: "c",
  bundle: "/",
  socket: "/s",
  ttrpcAddress: "/t",
  debug: false,
  shimCgroup: "",
  sleepAfterMs: 0,
};

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const count = (states: readonly string[], wanted: string): number =>
  states.filter((state) => state === wanted).length;
const times = (count: number, state: string): string[] => Array.from({ length: count }, () => state);

test("what a burst lacked is there for the next one, and goes after a while", async (t) => {
  const { path, states } = program(t);
  const shim = { command: path, prefix: [], own: true, path };
  const pauses = { refillMs: 1, calmMs: 20, betweenMs: 1, keepMs: 600_000 };
  const spares = new SpareShims(shim, 1, noLog, pauses);
  t.after(() => spares.stop());
  spares.fill();
  await until(() => states().join() === "waits");
  await Promise.all([1, 2, 3, 4].map(() => spares.launch(message)));
  // three of four were started when they were needed: the usual one, and three more
  await until(() => count(states(), "waits") === 4);
  assert.equal(count(states(), "serves"), 4);
  pauses.keepMs = 1;
  await spares.launch(message);
  await until(() => count(states(), "ended") === 2);
  assert.deepEqual(states(), ["ended", "ended", ...times(5, "serves"), "waits"]);
  spares.stop();
  await until(() => !states().includes("waits"));
});

test("without spares a process is started for each, and none is kept", async (t) => {
  const { path, states } = program(t);
  const spares = new SpareShims({ command: path, prefix: [], own: true, path }, 0, noLog);
  t.after(() => spares.stop());
  await Promise.all([1, 2].map(() => spares.launch(message)));
  assert.deepEqual(states(), times(2, "serves"));
});
