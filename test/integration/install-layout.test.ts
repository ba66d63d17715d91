/** install.sh with --root: what it lays out, keeps, refuses and gives back. Needs root (it says so itself), no network, no engine. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import type { Said } from "../peers/peer.ts";

const ROOT = join(import.meta.dirname, "../..");

describe("install.sh --root", () => {
  const work = mkdtempSync(join(tmpdir(), "gantry-layout-"));
  const release = makeRelease(join(work, "release"));
  let root = "";
  let count = 0;

  beforeEach(() => {
    root = join(work, `root${count++}`);
    put("usr/lib/cni/bridge", "#!/bin/sh\n", 0o755);
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  function put(path: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    chmodSync(join(root, path), mode);
  }
  const get = (path: string): string => readFileSync(join(root, path), "utf8");
  const listing = (): string =>
    execFileSync("find", [root, "-printf", "%P %y %l\n"], { encoding: "utf8" }).split("\n").sort().join("\n");
  function install(args: readonly string[], env: Record<string, string> = {}): Said {
    const command = [join(release, "install.sh"), "--root", root, ...args];
    const done = spawnSync("sh", command, { encoding: "utf8", env: { ...process.env, ...env } });
    return { code: done.status ?? 128, out: done.stdout, err: done.stderr };
  }
  function ok(...args: string[]): Said {
    const said = install(args);
    assert.equal(said.code, 0, said.out + said.err);
    return said;
  }

  test("lays out, repeats without a change, and takes everything back", () => {
    const fresh = listing();
    ok("--dry-run");
    assert.equal(listing(), fresh, "a dry run changes nothing");
    ok();
    for (const name of ["containerd", "ctr", "crictl", "containerd-shim-runc-v2"]) {
      assert.equal(readlinkSync(join(root, "usr/local/bin", name)), "gantry");
    }
    assert.equal(readlinkSync(join(root, "opt/cni/bin")), "/usr/lib/cni");
    assert.match(get("etc/systemd/system/containerd.service"), /^ExecStart=\/usr\/local\/bin\/containerd$/m);
    assert.match(get("etc/crictl.yaml"), /containerd\.sock/);
    const made = listing();
    const again = ok();
    assert.doesNotMatch(again.out, /^ {4}\//m, "a second run writes no file");
    assert.equal(listing(), made);
    ok("--uninstall");
    assert.equal(listing(), fresh);
  });

  test("another prefix goes into the unit", () => {
    ok("--prefix", "/opt/gantry");
    assert.ok(existsSync(join(root, "opt/gantry/bin/gantry")));
    assert.match(get("etc/systemd/system/containerd.service"), /^ExecStart=\/opt\/gantry\/bin\/containerd$/m);
    assert.equal(install(["--uninstall"]).code, 1, "the other prefix has nothing to remove");
    ok("--uninstall", "--prefix=/opt/gantry");
    assert.ok(!existsSync(join(root, "opt/gantry")));
  });

  test("a configuration that is there stays, with a copy from before", () => {
    put("etc/containerd/config.toml", "version = 2\n# theirs\n");
    put("etc/cni/net.d/05-mine.conflist", "{}");
    const fresh = listing();
    ok();
    assert.equal(get("etc/containerd/config.toml"), "version = 2\n# theirs\n");
    assert.equal(get("etc/containerd/config.toml.orig"), "version = 2\n# theirs\n");
    assert.ok(
      !existsSync(join(root, "etc/cni/net.d/10-containerd-net.conflist")),
      "their network stays the network",
    );
    ok("--uninstall");
    assert.equal(listing(), fresh);
  });

  test("a file that a person changed after the installation is left there", () => {
    ok();
    writeFileSync(join(root, "etc/containerd/config.toml"), "version = 3\n# mine\n");
    const said = ok("--uninstall");
    assert.match(said.out, /config\.toml was changed since: left there/);
    assert.equal(get("etc/containerd/config.toml"), "version = 3\n# mine\n");
  });

  test("foreign files are refused, kept with --force, and given back", () => {
    put("usr/local/bin/ctr", "theirs", 0o755);
    const said = install([]);
    assert.equal(said.code, 1);
    assert.match(said.err, /usr\/local\/bin\/ctr is there and is not ours/);
    ok("--force");
    assert.equal(get("usr/local/bin/ctr.orig"), "theirs");
    assert.equal(readlinkSync(join(root, "usr/local/bin/ctr")), "gantry");
    ok("--uninstall");
    assert.equal(get("usr/local/bin/ctr"), "theirs");
  });

  test("an edited unit is kept beside the new one", () => {
    ok();
    const unit = "etc/systemd/system/containerd.service";
    writeFileSync(join(root, unit), `${get(unit)}# mine\n`);
    ok();
    assert.doesNotMatch(get(unit), /# mine/);
    assert.match(get(`${unit}.orig`), /# mine/);
  });

  test("plugins are added to a folder of plugins that is there", () => {
    put("opt/cni/bin/other", "x", 0o755);
    ok();
    assert.equal(readlinkSync(join(root, "opt/cni/bin/bridge")), "/usr/lib/cni/bridge");
    ok("--uninstall");
    assert.ok(existsSync(join(root, "opt/cni/bin/other")) && !existsSync(join(root, "opt/cni/bin/bridge")));
  });

  test("a processor without SSE4.2 is told plainly", { skip: process.arch !== "x64" }, () => {
    const cpuinfo = join(work, "cpuinfo");
    writeFileSync(cpuinfo, "processor : 0\nflags : fpu sse sse2 popcnt\n");
    const said = install([], { GANTRY_CPUINFO: cpuinfo });
    assert.equal(said.code, 1);
    assert.match(
      said.err,
      /this processor lacks sse4_2: the executable would end with an illegal instruction\n {2}next:/,
    );
  });

  for (const [version, text] of [
    ["1.0.2", /CVE-2024-21626/],
    ["1.1.15", /CVE-2025-31133/],
    ["1.3.1", /CVE-2025-31133/],
    ["1.2.8", undefined],
    ["1.3.3", undefined],
    ["1.4.0-rc.1", undefined],
  ] as const) {
    test(`runc ${version} outside of a package is ${text === undefined ? "taken" : "warned of"}`, () => {
      const bin = join(work, `runc-${version}`);
      mkdirSync(bin, { recursive: true });
      writeFileSync(join(bin, "runc"), `#!/bin/sh\necho "runc version ${version}"\n`);
      chmodSync(join(bin, "runc"), 0o755);
      const said = install([], { PATH: `${bin}:${process.env["PATH"]}` });
      assert.equal(said.code, 0, said.err);
      if (text === undefined) assert.doesNotMatch(said.err, /CVE/);
      else assert.match(said.err, text);
    });
  }

  test("wrong options get one line and the next step", () => {
    for (const args of [["--nonsense"], ["--prefix"], ["--prefix", "relative"]]) {
      const done = spawnSync("sh", [join(ROOT, "install.sh"), ...args], { encoding: "utf8" });
      assert.equal(done.status, 1);
      assert.match(done.stderr, /^install\.sh: .+\n( {2}next: .+\n)?$/);
    }
  });

  test("the scripts are shellcheck-clean", () => {
    const scripts = execFileSync("git", ["ls-files", "*.sh", ".ci/run"], { cwd: ROOT, encoding: "utf8" });
    const done = spawnSync("shellcheck", scripts.split("\n").filter(Boolean), {
      cwd: ROOT,
      encoding: "utf8",
    });
    assert.equal(done.status, 0, done.stdout);
  });

  test("a folder without a release or a checkout is refused", () => {
    const bare = join(work, "bare");
    mkdirSync(bare);
    cpSync(join(ROOT, "install.sh"), join(bare, "install.sh"));
    const done = spawnSync("sh", [join(bare, "install.sh"), "--root", root], { encoding: "utf8" });
    assert.equal(done.status, 1);
    assert.match(done.stderr, /neither bin\/gantry \(a release\) nor src\/main\.ts/);
  });
});

/** A release whose executable is a script: enough for everything that does not start it. */
function makeRelease(dir: string): string {
  const files: Record<string, string> = {
    "containerd.service": "etc/systemd/system/containerd.service",
    "config.toml": "etc/containerd/config.toml",
    "crictl.yaml": "etc/crictl.yaml",
    "10-containerd-net.conflist": "etc/cni/net.d/10-containerd-net.conflist",
  };
  for (const [file, path] of Object.entries(files)) cpSync(join(ROOT, "packaging", file), join(dir, path));
  cpSync(join(ROOT, "install.sh"), join(dir, "install.sh"));
  mkdirSync(join(dir, "bin"));
  writeFileSync(join(dir, "bin/gantry"), "#!/bin/sh\necho gantry 9.9.9\n");
  chmodSync(join(dir, "bin/gantry"), 0o755);
  for (const name of ["containerd", "ctr"]) symlinkSync("gantry", join(dir, "bin", name));
  return dir;
}
