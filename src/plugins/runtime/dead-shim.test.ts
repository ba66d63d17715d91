import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { createDeferred } from "../../lib/deferred.ts";
import { sleep } from "../../lib/retry.ts";
import { childrenOf, readProcStat, runsProgram } from "../../platform/process/proc.ts";
import { endsBefore } from "./dead-shim.ts";

const root = process.getuid?.() === 0 ? {} : { skip: "needs root" };

/** The only child, as soon as there is one. */
async function childOf(pid: number): Promise<number> {
  for (;;) {
    const [child] = childrenOf(pid);
    if (child !== undefined) return child;
    await sleep(5);
  }
}

test(
  "a first process that waits for others to be reaped has ended, although it is no zombie",
  root,
  async () => {
    const holder = spawn("unshare", ["-p", "-f", "sleep", "1000"], { stdio: "ignore" });
    const init = await childOf(holder.pid ?? 0);
    // its parent is outside, and is stopped: the dead one stays
    const entered = spawn("nsenter", ["-t", String(init), "-p", "sleep", "1000"], { stdio: "ignore" });
    const inside = await childOf(entered.pid ?? 0);
    try {
      entered.kill("SIGSTOP");
      // a signal that was sent has not been taken yet
      while (readProcStat(entered.pid ?? 0)?.state !== "T") await new Promise((r) => setImmediate(r));
      const cleaning = createDeferred<void>();
      assert.ok(runsProgram(init));
      const ended = endsBefore(init, cleaning.promise);
      process.kill(init, "SIGKILL");
      assert.equal(await ended, true);
      // killed by the end of its first process, which it may outlive by a moment
      while (readProcStat(inside)?.state !== "Z") await sleep(5);
      const stat = readProcStat(init);
      assert.ok(stat !== undefined && stat.state !== "Z" && stat.exiting, stat?.state ?? "gone");
      assert.equal(await endsBefore(init, cleaning.promise), false, "it had ended before");
    } finally {
      entered.kill("SIGCONT");
      entered.kill("SIGKILL");
      holder.kill("SIGKILL");
    }
    await once(holder, "close");
  },
);

test("one that runs on is not waited for longer than the cleaning takes", async () => {
  const cleaning = createDeferred<void>();
  const ended = endsBefore(process.pid, cleaning.promise);
  cleaning.resolve();
  assert.equal(await ended, false);
  assert.equal(await endsBefore(0, cleaning.promise), false);
});
