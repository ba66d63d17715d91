import assert from "node:assert/strict";
import { test } from "node:test";
import { mountAll, unmountAll } from "../../src/platform/mounts/mounts.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { createFakeKernel } from "./syscalls.ts";

const tmpfs = { type: "tmpfs", source: "tmpfs", options: [] };

test("records calls and injects failures; a failed mount is rolled back", () => {
  const fake = createFakeKernel();
  fake.fail("mount", "ENOSPC", { skip: 1 });
  assert.throws(
    () => mountAll([tmpfs, tmpfs], "/nowhere", fake.kernel),
    (error: unknown) => isErrno(error, "ENOSPC"),
  );
  assert.deepEqual(fake.names(), ["mount", "mount", "umount2"]);
  assert.equal(fake.of("umount2")[0]?.args[0], "/nowhere");
});

test("a read-only bind whose remount fails is not left writable", () => {
  const fake = createFakeKernel();
  fake.fail("mount", "EPERM", { skip: 1 });
  assert.throws(() => mountAll([{ type: "bind", source: "/s", options: ["bind", "ro"] }], "/t", fake.kernel));
  assert.deepEqual(fake.names(), ["mount", "mount", "umount2"]);
});

test("a busy unmount is tried again", async () => {
  const fake = createFakeKernel();
  fake.fail("umount2", "EBUSY", { times: 2 });
  fake.fail("umount2", "EINVAL", { skip: 1 });
  await unmountAll("/t", 0, fake.kernel);
  assert.equal(fake.calls.length, 4);
});
