/** Reload of the configuration of a real daemon: by signal, by a changed file, refused when a file is wrong. Needs root. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { peerCtr } from "../peers/peer.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-reload-"));
const config = join(dir, "config.toml");

/** Writes the file as editors and config tools do: a new one is renamed over it. */
function write(path: string, lines: readonly string[]): void {
  writeFileSync(`${path}.new`, `${lines.join("\n")}\n`);
  renameSync(`${path}.new`, path);
}

const base = [
  "version = 3",
  `root = "${dir}/root"`,
  `state = "${dir}/state"`,
  `imports = ["${dir}/conf.d/*.toml"]`,
  'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
  "[grpc]",
  `  address = "${dir}/c.sock"`,
];

describe("reload", { skip: process.getuid?.() !== 0 }, () => {
  let child: ChildProcess;
  const log = (): string => readFileSync(join(dir, "log"), "utf8");
  /** Waits for a line that was not there when the last one was found. */
  let seen = 0;
  const line = async (pattern: RegExp): Promise<string> => {
    let found = "";
    await until(`a line like ${pattern}`, () => {
      const rest = log().slice(seen);
      const hit = pattern.exec(rest);
      if (hit === null) return false;
      const end = rest.indexOf("\n", hit.index);
      found = rest.slice(rest.lastIndexOf("\n", hit.index) + 1, end);
      seen += end;
      return true;
    });
    return found;
  };

  before(async () => {
    mkdirSync(join(dir, "conf.d"));
    write(config, base);
    const fd = openSync(join(dir, "log"), "a");
    child = spawn(BUN, [MAIN, "daemon", "-c", config], { stdio: ["ignore", fd, fd] });
    await line(/containerd successfully booted/);
  });
  after(async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    rmSync(dir, { recursive: true, force: true });
  });

  test("a changed file: the log level changes live", async () => {
    write(config, [...base, "[debug]", '  level = "debug"']);
    assert.match(await line(/configuration reloaded/), /applied=debug .*reason="file changed"/);
  });

  test("a key that needs a restart is named, each time until the restart", async () => {
    const lines = [...base, "[plugins.'io.containerd.snapshotter.v1.overlayfs']", "  sync_remove = true"];
    write(config, lines);
    assert.match(
      await line(/configuration reloaded/),
      /applied=debug needs_restart=plugins\.io\.containerd\.snapshotter\.v1\.overlayfs\.sync_remove/,
    );
    child.kill("SIGHUP");
    assert.match(await line(/configuration reloaded/), /needs_restart=.*sync_remove reason=SIGHUP/);
  });

  test("a file with an error changes nothing, and says where it is", async () => {
    write(config, [...base, "[debug", '  level = "trace"']);
    assert.match(await line(/reload refused/), /line 8, column/);
    write(config, [...base, "[debug]", '  level = "loud"']);
    assert.match(await line(/reload refused/), /log level \\"loud\\": not one of/);
    write(config, base);
    assert.match(await line(/configuration reloaded/), /applied="nothing changed"/);
  });

  test("a mirror counts from the next pull on", async () => {
    await using registry = await startRegistry({ filled: testImages() });
    const ctr = peerCtr("1.7", join(dir, "c.sock"));
    const name = "mirrored.invalid/test/busybox:latest";
    // the transfer service of the daemon resolves: Debian's client 1.7 does it by itself, so ours is used
    const pull = () =>
      spawnSync(
        BUN,
        [MAIN, "ctr", "-a", join(dir, "c.sock"), "images", "pull", "--snapshotter", "native", name],
        {
          encoding: "utf8",
        },
      );
    assert.equal(pull().status, 1);
    write(config, [
      ...base,
      `[plugins."io.containerd.cri.v1.images".registry.mirrors."mirrored.invalid"]`,
      `  endpoint = ["http://${registry.host}"]`,
    ]);
    await line(/configuration reloaded/);
    const said = pull();
    assert.equal(said.status, 0, said.stderr);
    assert.match(ctr("images", "ls", "-q").out, /mirrored\.invalid\/test\/busybox:latest/);
    write(config, base);
    await line(/configuration reloaded/);
  });

  test("a new file in the drop-in folder", async () => {
    write(join(dir, "conf.d/10.toml"), [
      "version = 3",
      "[timeouts]",
      '  "io.containerd.timeout.task.state" = "9s"',
    ]);
    assert.match(await line(/configuration reloaded/), /applied=timeouts reason="file changed"/);
    write(join(dir, "conf.d/20.toml"), ["version = 3", "no_such_key = 1"]);
    assert.match(await line(/ignore configuration key/), /conf\.d\/20\.toml key=no_such_key line=2/);
  });
});
