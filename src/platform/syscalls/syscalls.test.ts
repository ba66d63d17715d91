import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { alloc, text } from "../ffi/memory.ts";
import {
  LOCK_EX,
  LOCK_NB,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  RESOLVE_IN_ROOT,
  S_IFCHR,
} from "./constants.ts";
import { SyscallError } from "./errors.ts";
import { kernel as k } from "./kernel.ts";
import { lutimens, textPath } from "./raw-fs.ts";

const root = process.getuid?.() === 0 ? {} : { skip: "needs root" };
const dir = mkdtempSync(join(tmpdir(), "gantry-sys-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const fails = (code: string) => (error: unknown) => error instanceof SyscallError && error.code === code;

test("errors carry errno name, call and path", () => {
  assert.throws(
    () => k.open(join(dir, "none"), O_RDONLY),
    (error: unknown) =>
      error instanceof SyscallError &&
      error.code === "ENOENT" &&
      error.message === `openat "${dir}/none": no such file or directory`,
  );
});

test("write, pread, statx keep nanoseconds; readDir; xattr", root, () => {
  const fd = k.open(join(dir, "f"), O_RDWR | O_CREAT, 0o640);
  k.writeAll(fd, new TextEncoder().encode("hello"));
  const buffer = alloc(16);
  assert.equal(k.pread(fd, buffer, 1), 4);
  assert.equal(text(buffer, 4), "ello");
  const name = textPath(join(dir, "f"));
  lutimens(name, { atimeSec: 1, atimeNsec: 0, mtimeSec: 1_234_567_890, mtimeNsec: 123_456_789 });
  const st = k.fstat(fd);
  assert.equal(st.mtimeNs, 1_234_567_890_123_456_789n);
  assert.equal(st.size, 5);
  assert.equal(st.mode & 0o777, 0o640);
  lutimens(name, { atimeSec: -1, atimeNsec: 0, mtimeSec: -2, mtimeNsec: 500_000_000 });
  assert.equal(k.fstat(fd).mtimeNs, -1_500_000_000n);
  k.lsetxattr(join(dir, "f"), "trusted.gantry", new Uint8Array([1, 0, 2]));
  assert.deepEqual([...(k.lgetxattr(join(dir, "f"), "trusted.gantry") ?? [])], [1, 0, 2]);
  assert.deepEqual(k.llistxattr(join(dir, "f")), ["trusted.gantry"]);
  assert.equal(k.lgetxattr(join(dir, "f"), "trusted.none"), undefined);
  k.close(fd);
  assert.throws(() => k.close(fd), fails("EBADF"));
  const top = k.open(dir, O_RDONLY | O_DIRECTORY);
  k.mknodat(top, "zero", S_IFCHR | 0o600, 261n);
  assert.deepEqual(k.statx(top, "zero", 0).rdev, { major: 1, minor: 5 });
  symlinkSync("/../zero", join(dir, "up"));
  assert.equal(text(k.readlinkat(top, "up")), "/../zero");
  k.close(k.openat2(top, "up", { flags: O_RDONLY, resolve: RESOLVE_IN_ROOT }));
  assert.deepEqual(
    k
      .readDir(top)
      .map((entry) => text(entry.name))
      .sort(),
    ["f", "up", "zero"],
  );
  k.close(top);
});

test("a second opener does not get the flock", () => {
  const a = k.open(join(dir, "lock"), O_RDWR | O_CREAT, 0o600);
  const b = k.open(join(dir, "lock"), O_RDWR);
  k.flock(a, LOCK_EX | LOCK_NB);
  assert.throws(() => k.flock(b, LOCK_EX | LOCK_NB), fails("EAGAIN"));
  k.close(a);
  k.flock(b, LOCK_EX | LOCK_NB);
  k.close(b);
});

test("fds cross a unix socket pair", () => {
  const [a, b] = k.socketpair(1, true);
  assert.equal(k.receiveWithFds(b), undefined);
  const pipe = k.pipe2();
  assert.equal(k.sendWithFds(a, new Uint8Array([7]), [pipe.read, pipe.write]), 1);
  const got = k.receiveWithFds(b);
  assert.equal(got?.fds.length, 2);
  assert.deepEqual([...(got?.bytes ?? [])], [7]);
  k.writeAll(pipe.write, new Uint8Array([1, 2, 3]));
  assert.equal(k.read(got?.fds[0] ?? -1, alloc(10)), 3);
  assert.equal(k.peerCredentials(a).pid, process.pid);
  for (const fd of [a, b, pipe.read, pipe.write, ...(got?.fds ?? [])]) k.close(fd);
});

test("processes that are not there, or not ours to wait for", () => {
  assert.throws(() => k.kill(2 ** 30, 0), fails("ESRCH"));
  assert.equal(k.waitpid(process.pid), undefined);
});
