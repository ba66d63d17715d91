/** The sleeper by itself: what it waits for, what it becomes, what it passes on. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { spawnProcess } from "../../src/platform/process/spawn.ts";
import { O_CREAT, O_NONBLOCK, O_RDONLY, O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { close, open, pipe2, writeAll } from "../../src/platform/syscalls/files.ts";
import { socketpair } from "../../src/platform/syscalls/socket.ts";
import { canSleep, sleeperImage } from "./image.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-sleeper-"));
after(() => rmSync(dir, { recursive: true, force: true }));

const SOCK_STREAM = 1;
const QEMU = "/usr/bin/qemu-aarch64-static";
const BUSYBOX = "/bin/busybox";
const skip = canSleep() && existsSync(BUSYBOX) ? false : "needs busybox-static";

/**
 * A sleeper whose fds are 3 (a pipe it waits for), 4 (the program it becomes), 5 (its signals: a pipe that stays empty), and from 6
 * on connections.
 * The program is a shell that writes down what it got.
 */
function start(
  arch: string,
  emulator: readonly string[],
  out: string,
  said?: number,
  connections: readonly number[] = [],
) {
  const file = join(dir, `sleeper-${arch}`);
  const script = `echo "$0 $1 $VALUE $SIGNAL" > ${out}; exit 5`;
  const image = sleeperImage(
    {
      polls: [{ fd: 3, events: 1 }, ...connections.map((_, index) => ({ fd: 6 + index, events: 0x2001 }))],
      exe: 4,
      signals: 5,
      signalName: "SIGNAL",
      argv: ["sh", "-c", script, "first", "second"],
      env: ["VALUE=kept", "PATH=/bin"],
      name: "a-name",
    },
    arch,
  );
  writeFileSync(file, image, { mode: 0o755 });
  const pipe = pipe2();
  const signals = pipe2(O_NONBLOCK);
  const program = open(BUSYBOX, O_RDONLY);
  const [command = "", ...args] = [...emulator, file];
  const child = spawnProcess(command, [...args, "word"], {
    stdio: ["ignore", "ignore", said ?? "ignore", pipe.read, program, signals.read, ...connections],
    ...(emulator.length === 0 ? { argv0: "shown" } : {}),
  });
  for (const fd of [pipe.read, program, signals.read, signals.write, ...connections]) close(fd);
  return { child, wake: pipe.write };
}

for (const how of ["data", "hang-up"] as const) {
  test(`becomes the program on ${how}, with its words and environment`, { skip }, async () => {
    const out = join(dir, how);
    const { child, wake } = start(process.arch, [], out);
    if (how === "data") writeAll(wake, new Uint8Array([1]));
    close(wake);
    assert.equal((await child.exited).code, 5);
    assert.equal(readFileSync(out, "utf8"), "first second kept 00\n");
  });
}

test("the end of a connection alone does not wake, data in it do, also when it ended behind them", {
  skip,
}, async () => {
  const out = join(dir, "connections");
  const [[one, first], [two, second]] = [socketpair(SOCK_STREAM), socketpair(SOCK_STREAM)];
  const { child, wake } = start(process.arch, [], out, undefined, [one, two]);
  const proc = (what: string): string => readFileSync(`/proc/${child.pid}/${what}`, "utf8");
  const sleeps = (): number => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(proc("status"))?.[1]);
  const asleep = async (times: number): Promise<void> => {
    while (sleeps() < times || !proc("stat").includes(") S ") || !proc("comm").startsWith("a-name"))
      await new Promise((resolve) => setTimeout(resolve, 2));
  };
  await asleep(0);
  const before = sleeps();
  close(first);
  await asleep(before + 1);
  assert.equal(existsSync(out), false);
  writeAll(second, new Uint8Array([1]));
  close(second);
  assert.equal((await child.exited).code, 5);
  close(wake);
});

test("arm64: emulated, it waits, and calls for the program (which this emulator cannot become)", {
  skip: existsSync(QEMU) && existsSync(BUSYBOX) ? false : "needs qemu-user-static and busybox-static",
}, async () => {
  const log = join(dir, "arm64.log");
  const said = open(log, O_WRONLY | O_CREAT, 0o600);
  const { child, wake } = start("arm64", [QEMU, "-strace"], join(dir, "arm64"), said);
  const look = async (what: RegExp): Promise<string> => {
    for (;;) {
      const text = readFileSync(log, "utf8");
      if (what.test(text)) return text;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  assert.doesNotMatch(await look(/ppoll/), /execveat/);
  writeAll(wake, new Uint8Array([1]));
  assert.match(await look(/execveat/), /rt_sigaction\(SIGTERM.*\n.*execveat\(4,/);
  child.kill(9);
  await child.exited;
  close(wake);
  close(said);
});

test("asleep: its own words and name, three pages, the program cannot be written over", {
  skip: skip,
}, async () => {
  const { child, wake } = start(process.arch, [], join(dir, "asleep"));
  const proc = (what: string): string => readFileSync(`/proc/${child.pid}/${what}`, "utf8");
  while (!proc("comm").startsWith("a-name")) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.equal(proc("cmdline"), "shown\0word\0");
  assert.ok(Number(/^VmRSS:\s+(\d+)/m.exec(proc("status"))?.[1]) <= 24);
  // by a capability that not every root has
  const called = readlinkSync(`/proc/${child.pid}/exe`);
  assert.match(called, /busybox$|sleeper/);
  if (called.endsWith("busybox"))
    assert.throws(
      () => open(called, O_WRONLY | O_CREAT),
      (error: unknown) => isErrno(error, "ETXTBSY"),
    );
  child.kill(9);
  close(wake);
  assert.equal((await child.exited).code, 137);
});
