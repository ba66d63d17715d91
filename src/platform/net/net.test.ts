import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { text } from "../ffi/memory.ts";
import { sdNotify } from "../process/notify.ts";
import { run } from "../process/spawn.ts";
import { setMainScript } from "../runtime.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close } from "../syscalls/files.ts";
import { bindUnix, receiveWithFds, SOCK_DGRAM, unixSocket } from "../syscalls/socket.ts";
import { listenStream } from "./byte-stream.ts";
import { createNetns, deleteNetns, isPinned } from "./netns.ts";
import { connectUnix, listenUnix, removeStaleSocket } from "./unix.ts";

const root = process.getuid?.() === 0 ? {} : { skip: "needs root" };
const dir = mkdtempSync(join(tmpdir(), "gantry-net-"));
after(() => rmSync(dir, { recursive: true, force: true }));

test("listen sets the mode; a live socket is kept, a stale one replaced", async () => {
  const path = join(dir, "s.sock");
  const hi = (backlog: number) =>
    listenStream(path, backlog, (stream) => {
      stream.write(new TextEncoder().encode("hi"));
      stream.end();
    });
  const server = await listenUnix(path, hi, { mode: 0o640 });
  assert.equal(lstatSync(path).mode & 0o777, 0o640);
  const client = await connectUnix(`unix://${path}`);
  let got = "";
  for await (const chunk of client) got += String(chunk);
  assert.equal(got, "hi");
  await assert.rejects(listenUnix(path, hi), (error: unknown) => isErrno(error, "EADDRINUSE"));
  server.close();
  const fd = unixSocket(1);
  bindUnix(fd, join(dir, "stale"));
  close(fd);
  assert.ok(existsSync(join(dir, "stale")));
  await removeStaleSocket(join(dir, "stale"));
  assert.ok(!existsSync(join(dir, "stale")));
  writeFileSync(join(dir, "file"), "");
  await assert.rejects(removeStaleSocket(join(dir, "file")), (error: unknown) => isErrno(error, "EEXIST"));
  await assert.rejects(connectUnix(join(dir, "none")), (error: unknown) => isErrno(error, "ENOENT"));
});

test("sd_notify by path and abstract name", () => {
  for (const name of [join(dir, "notify"), `@gantry-notify-${process.pid}`]) {
    const fd = unixSocket(SOCK_DGRAM, true);
    bindUnix(fd, name);
    assert.equal(sdNotify("READY=1", name), true);
    assert.equal(text(receiveWithFds(fd)?.bytes ?? new Uint8Array()), "READY=1");
    close(fd);
  }
  assert.equal(sdNotify("READY=1", join(dir, "nobody")), false);
});

test("a pinned network namespace is another one, with loopback up", root, async () => {
  const script = join(dir, "main.ts");
  const helper = new URL("../helper.ts", import.meta.url).href;
  writeFileSync(
    script,
    `import { runHelper } from ${JSON.stringify(helper)};\nprocess.exit(await runHelper(process.argv.slice(3)));\n`,
  );
  setMainScript(script);
  const path = join(dir, "netns/one");
  await createNetns(path);
  assert.equal(isPinned(path), true);
  const inside = await run("nsenter", [`--net=${path}`, "cat", "/proc/net/dev"]);
  assert.match(text(inside.stdout), /lo:/);
  assert.doesNotMatch(text(inside.stdout), /eth0/);
  const ping = await run("nsenter", [`--net=${path}`, "sh", "-c", "cat /sys/class/net/lo/flags || true"]);
  assert.equal(ping.code, 0);
  await assert.rejects(createNetns(path), (error: unknown) => isErrno(error, "EEXIST"));
  deleteNetns(path);
  deleteNetns(path);
  assert.equal(existsSync(path), false);
});
