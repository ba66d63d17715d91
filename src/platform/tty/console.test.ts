import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { text } from "../ffi/memory.ts";
import { run } from "../process/spawn.ts";
import { getWinsize } from "../syscalls/tty.ts";
import { ConsoleSocket, Pty } from "./console.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-tty-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const usable =
  process.getuid?.() === 0 && existsSync("/usr/sbin/runc") && existsSync("/bin/busybox")
    ? {}
    : { skip: "needs root, runc and a static busybox" };

test("runc hands over a terminal: size, input, output, end", usable, async () => {
  const bundle = join(dir, "bundle");
  mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
  mkdirSync(join(bundle, "rootfs/proc"));
  await run("cp", ["/bin/busybox", join(bundle, "rootfs/bin/busybox")]);
  await run("runc", ["spec"], { cwd: bundle });
  const spec = JSON.parse(
    await (await import("node:fs/promises")).readFile(join(bundle, "config.json"), "utf8"),
  );
  spec.process.terminal = true;
  spec.process.args = ["/bin/busybox", "sh", "-c", "read x; /bin/busybox stty size; echo got $x"];
  writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
  const id = `gantry-tty-${process.pid}`;
  const state = join(dir, "state");
  using socket = ConsoleSocket.listen(join(dir, "c.sock"));
  const started = await run(
    "runc",
    ["--root", state, "run", "-d", "--bundle", bundle, "--console-socket", socket.path, id],
    { until: "exit" },
  );
  assert.equal(started.code, 0, text(started.stderr));
  const pty = new Pty(socket.receive());
  pty.resize({ rows: 43, columns: 132 });
  assert.deepEqual(getWinsize(pty.fd), { rows: 43, columns: 132 });
  await pty.write(new TextEncoder().encode("hello\n"));
  let output = "";
  for await (const chunk of pty.read()) output += text(chunk);
  assert.match(output, /43 132/);
  assert.match(output, /got hello/);
  await pty.close();
  await run("runc", ["--root", state, "delete", "--force", id]);
});
