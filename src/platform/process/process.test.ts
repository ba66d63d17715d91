import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { alloc, text } from "../ffi/memory.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, pipe2, read } from "../syscalls/files.ts";
import { killIdentified } from "./pidfd.ts";
import { childrenOf, commandLineOf, identify, isAlive, readProcStat } from "./proc.ts";
import { becomeSubreaper, waitForExit } from "./reaper.ts";
import { RunTimeoutError, run, spawnProcess } from "./spawn.ts";

test("run gives code, output and stdin", async () => {
  const result = await run("sh", ["-c", "cat; echo err >&2; exit 3"], { stdin: "in" });
  assert.equal(result.code, 3);
  assert.equal(text(result.stdout), "in");
  assert.equal(text(result.stderr), "err\n");
  const killed = await run("sh", ["-c", "kill -9 $$"]);
  assert.deepEqual([killed.code, killed.signal], [137, "SIGKILL"]);
});

test("run: missing program, timeout of a whole group, abort, output cap", async () => {
  await assert.rejects(run("/nonexistent/x", []), (error: unknown) => isErrno(error, "ENOENT"));
  await assert.rejects(
    run("sh", ["-c", "sleep 100 & sleep 100"], { timeoutMs: 50, killGroup: true }),
    RunTimeoutError,
  );
  const abort = new AbortController();
  const running = run("sleep", ["100"], { signal: abort.signal });
  abort.abort(new Error("stop"));
  await assert.rejects(running, /stop/);
  const big = await run("sh", ["-c", "head -c 100000 /dev/zero"], { maxOutput: 1000 });
  assert.equal(big.stdout.length, 1000);
  assert.equal(big.truncated, true);
});

test("run: no file is left to be opened, and said so", () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-files-"));
  const script = join(dir, "full.ts");
  writeFileSync(
    script,
    `import { openSync } from "node:fs";
import { run } from ${JSON.stringify(join(import.meta.dirname, "spawn.ts"))};
await run("/bin/true", []);
try {
  for (;;) openSync("/dev/null", "r");
} catch {}
await run("/bin/true", []).then(() => console.log("started"), (error) => console.log(error.code, error.message));
process.exit(0);
`,
  );
  const start = [...("Deno" in globalThis ? ["run", "-A"] : []), script];
  const limited = ["-c", 'ulimit -n 60; exec "$0" "$@"', process.execPath, ...start];
  const { stdout } = spawnSync("sh", limited, { encoding: "utf8" });
  rmSync(dir, { recursive: true });
  assert.equal(stdout, 'EMFILE spawn "/bin/true": too many open files\n');
});

test("a kernel fd becomes the child's stdout and fd 3", async () => {
  const out = pipe2();
  const extra = pipe2();
  const child = spawnProcess("sh", ["-c", "echo one; echo two >&3; exit 4"], {
    stdio: ["ignore", out.write, "ignore", extra.write],
  });
  close(out.write);
  close(extra.write);
  assert.equal((await child.exited).code, 4);
  const buffer = alloc(128);
  assert.equal(text(buffer, read(out.read, buffer)), "one\n");
  assert.equal(text(buffer, read(extra.read, buffer)), "two\n");
  assert.equal(read(extra.read, buffer), 0);
  close(out.read);
  close(extra.read);
});

test("identity: start time, command line, kill only that one", async () => {
  const child = spawnProcess("sleep", ["100"]);
  const who = identify(child.pid);
  assert.ok(who !== undefined && isAlive(who));
  assert.ok(childrenOf(process.pid).includes(child.pid));
  assert.equal(readProcStat(child.pid)?.parent, process.pid);
  assert.deepEqual(commandLineOf(1)?.length === 0, false);
  assert.equal(killIdentified({ pid: who.pid, startTime: who.startTime + 1n }, 9), false);
  assert.equal(killIdentified(who, 9), true);
  assert.equal((await child.exited).signal, "SIGKILL");
  assert.equal(isAlive(who), false);
  assert.equal(killIdentified(who, 9), false);
});

test("orphans and own children at once: every code right, no zombies", async () => {
  becomeSubreaper();
  const count = 60;
  const own = Array.from({ length: count }, async (_, index) => {
    const result = await run("sh", ["-c", `exit ${index}`]);
    assert.equal(result.code, index);
  });
  const orphans = Array.from({ length: count }, async () => {
    // The shell ends at once and leaves its child to us.
    const result = await run("sh", ["-c", "sleep 100 >/dev/null 2>&1 & echo $!"]);
    const pid = Number(text(result.stdout).trim());
    process.kill(pid, 9);
    const exit = await waitForExit(pid);
    assert.deepEqual([exit.code, exit.signal], [137, 9]);
  });
  const early = Array.from({ length: count }, async (_, index) => {
    // long enough for the outer shell to be gone: it would take the exit code for itself
    const result = await run("sh", [
      "-c",
      `(sleep 0.${2 + (index % 8)}; exit ${index}) >/dev/null 2>&1 & echo $!`,
    ]);
    const exit = await waitForExit(Number(text(result.stdout).trim()));
    assert.equal(exit.code, index);
  });
  await Promise.all([...own, ...orphans, ...early]);
  const zombies = childrenOf(process.pid).filter((pid) => readProcStat(pid)?.state === "Z");
  assert.deepEqual(zombies, []);
  assert.equal(spawnSync("sh", ["-c", "exit 7"]).status, 7);
});
