import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
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
import { NetnsMaker } from "./netns-maker.ts";
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

/** A program that is `gantry helper` only. */
function helperScript(): string {
  const script = join(dir, "main.ts");
  const helper = new URL("../helper.ts", import.meta.url).href;
  writeFileSync(
    script,
    `import { runHelper } from ${JSON.stringify(helper)};\nprocess.exit(await runHelper(process.argv.slice(3)));\n`,
  );
  return script;
}

test("a pinned network namespace is another one, with loopback up", root, async () => {
  setMainScript(helperScript());
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

test("one helper makes many network namespaces, and is back in its own between them", root, async () => {
  setMainScript(helperScript());
  const maker = new NetnsMaker();
  const paths = ["a", "b", "c"].map((name) => join(dir, "many", name));
  await Promise.all(paths.map((path) => maker.create(path)));
  const inodes = new Set(paths.map((path) => statSync(path).ino));
  assert.equal(inodes.size, 3);
  assert.equal(inodes.has(statSync("/proc/self/ns/net").ino), false);
  const lo = await run("nsenter", [`--net=${paths[2]}`, "ip", "-o", "link", "show", "lo"]);
  assert.match(text(lo.stdout), /[<,]UP[,>]/);
  await assert.rejects(maker.create(paths[0] ?? ""), (error: unknown) => isErrno(error, "EEXIST"));
  await assert.rejects(
    maker.create(join(dir, "many/d"), AbortSignal.abort(new Error("given up"))),
    /given up/,
  );
  assert.equal(existsSync(join(dir, "many/d")), false);
  maker.close();
  // a helper that was ended is followed by another one
  for (const path of paths) deleteNetns(path);
  await maker.create(paths[0] ?? "");
  const cut = maker.create(paths[1] ?? "");
  maker.close();
  await assert.rejects(cut, /the daemon ends/);
  assert.equal(existsSync(paths[1] ?? ""), false);
  deleteNetns(paths[0] ?? "");
});
