/** Debian's docker daemon with our engine as its containerd. Needs root, runc and docker's packages. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CACHE, imageName, testImages } from "../fixtures/images.ts";
import { mountsBelow, peerBin } from "../peers/peer.ts";
import { until } from "./client.ts";
import { type Engine, startEngine } from "./engine.ts";
import { ourBin } from "./program.ts";

const DOCKER = join(CACHE, "peers/docker/usr");
const IMAGE = imageName("busybox");
const START_MS = 60_000;

if (process.getuid?.() === 0) peerBin("1.6"); // fetches docker's packages, too
const skip =
  process.getuid?.() !== 0 || !existsSync(join(DOCKER, "sbin/dockerd"))
    ? "needs root and docker's daemon"
    : false;

describe("docker's daemon on our engine", { skip }, () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-dockerd-"));
  const address = join(dir, "docker.sock");
  let engine: Engine;
  let child: ChildProcess;

  const tryDocker = (...args: string[]): { code: number; out: string; err: string } => {
    const done = spawnSync(join(DOCKER, "bin/docker"), ["-H", `unix://${address}`, ...args], {
      encoding: "utf8",
      timeout: 60_000,
    });
    return { code: done.status ?? 128, out: done.stdout, err: done.stderr };
  };
  const docker = (...args: string[]): string => {
    const { code, out, err } = tryDocker(...args);
    assert.equal(code, 0, `docker ${args.join(" ")}: ${err}${out}`);
    return out.trim();
  };
  /** State of a container by a format. */
  const state = (name: string, format: string): string => docker("inspect", "--format", format, name);

  before(async () => {
    engine = await startEngine("ours");
    writeFileSync(join(dir, "docker.json"), "{}");
    const log = openSync(join(dir, "log"), "a");
    const engineFlags = ["--containerd", engine.address, "--containerd-namespace", engine.namespace];
    const folders = [
      "--data-root",
      join(dir, "data"),
      "--exec-root",
      join(dir, "exec"),
      "--pidfile",
      join(dir, "pid"),
    ];
    const quiet = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"];
    child = spawn(
      join(DOCKER, "sbin/dockerd"),
      [
        ...engineFlags,
        `--containerd-plugins-namespace=plugins-${engine.namespace}`,
        ...folders,
        ...quiet,
        "--config-file",
        join(dir, "docker.json"),
        "--host",
        `unix://${address}`,
      ],
      {
        env: { ...process.env, PATH: `${ourBin()}:${process.env["PATH"] ?? ""}` },
        stdio: ["ignore", log, log],
      },
    );
    await until(
      "docker's daemon",
      () => {
        if (child.exitCode !== null) throw new Error(readFileSync(join(dir, "log"), "utf8").slice(-2000));
        return tryDocker("version").code === 0;
      },
      START_MS,
    );
    docker("load", "-i", testImages().archive("busybox"));
  });

  after(async () => {
    if (child.exitCode === null) {
      const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      child.kill("SIGTERM");
      await gone;
    }
    await engine.stop();
    for (const target of mountsBelow(dir)) spawnSync("umount", ["-l", target]);
    rmSync(dir, { recursive: true, force: true });
  });

  test("it runs containers: output, exit codes, input", () => {
    assert.match(docker("info"), /Default Runtime: runc/);
    assert.equal(docker("run", "--rm", "--network=none", IMAGE, "echo", "hello"), "hello");
    const seven = tryDocker("run", "--rm", "--network=none", IMAGE, "sh", "-c", "echo problem >&2; exit 7");
    assert.deepEqual(seven, { code: 7, out: "", err: "problem\n" });
    const missing = tryDocker("run", "--rm", "--network=none", IMAGE, "/none");
    assert.equal(missing.code, 127);
    assert.match(missing.err, /"\/none": stat \/none: no such file or directory/);
  });

  test("a container of its own: exec, pause, limits, processes, logs, removal", () => {
    docker(
      "run",
      "-d",
      "--name",
      "one",
      "--network=none",
      "--memory=32m",
      IMAGE,
      "sh",
      "-c",
      "echo up; sleep 1000",
    );
    assert.equal(docker("exec", "one", "cat", "/proc/1/comm"), "sleep");
    assert.equal(tryDocker("exec", "one", "sh", "-c", "exit 5").code, 5);
    assert.match(docker("top", "one"), /sleep 1000/);
    assert.match(docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "one"), /\/ 32MiB/);
    docker("pause", "one");
    assert.equal(state("one", "{{.State.Status}}"), "paused");
    docker("unpause", "one");
    assert.equal(docker("logs", "one"), "up");
    docker("kill", "one");
    assert.equal(docker("wait", "one"), "137");
    docker("rm", "one");
  });

  test("out of memory is told", () => {
    const eater = ["sh", "-c", "head -c 200m /dev/zero | tail"];
    assert.equal(
      tryDocker("run", "--name", "oom", "--network=none", "--memory=16m", IMAGE, ...eater).code,
      137,
    );
    assert.equal(state("oom", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    docker("rm", "oom");
  });

  test("our daemon is killed and comes back below it: the container lives, its exit arrives", async () => {
    docker(
      "run",
      "-d",
      "--name",
      "keep",
      "--network=none",
      IMAGE,
      "sh",
      "-c",
      "trap 'exit 9' TERM; while :; do sleep 0.1; done",
    );
    const pid = state("keep", "{{.State.Pid}}");
    await engine.end("SIGKILL");
    await engine.start();
    await until("an exec", () => tryDocker("exec", "keep", "true").code === 0, START_MS);
    assert.equal(state("keep", "{{.State.Pid}} {{.State.Running}}"), `${pid} true`);
    docker("stop", "keep");
    assert.equal(state("keep", "{{.State.ExitCode}}"), "9");
    docker("rm", "keep");
  });
});
