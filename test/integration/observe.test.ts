/** What a real daemon tells of itself: metrics with a container's figures, health, status, events, profiles, dumps. Needs root. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { peerCtr } from "../peers/peer.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-observe-"));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("observe", { skip: process.getuid?.() !== 0 }, () => {
  let child: ChildProcess;
  let url = "";
  const socket = join(dir, "debug.sock");
  const ctr = peerCtr("1.7", join(dir, "c.sock"));
  const ok = (...args: string[]): string => {
    const said = ctr(...args);
    assert.equal(said.code, 0, said.err);
    return said.out;
  };
  const get = async (path: string): Promise<string> => {
    const answer = await fetch(`${url}${path}`);
    assert.equal(answer.status, 200, path);
    return answer.text();
  };

  before(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    writeFileSync(
      join(dir, "config.toml"),
      `version = 3
root = "${dir}/root"
state = "${dir}/state"
imports = []
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${dir}/c.sock"
[metrics]
  address = "127.0.0.1:${port}"
  grpc_histogram = true
[debug]
  address = "${socket}"
`,
    );
    const fd = openSync(join(dir, "log"), "a");
    child = spawn(BUN, [MAIN, "daemon", "-c", join(dir, "config.toml")], { stdio: ["ignore", fd, fd] });
    await until("the daemon", () => readFileSync(join(dir, "log"), "utf8").includes("successfully booted"));
    writeFileSync(join(dir, "pause.tar"), execFileSync(BUN, [MAIN, "builtin-image", "pause"]));
    ok("images", "import", "--snapshotter", "native", join(dir, "pause.tar"));
    ok("run", "-d", "--snapshotter", "native", "gantry.local/pause:latest", "seen");
  });
  after(async () => {
    ctr("tasks", "kill", "-s", "KILL", "seen");
    await until("the end of the task", () => !/RUNNING/.test(ctr("tasks", "ls").out)).catch(() => {});
    ctr("tasks", "rm", "seen");
    ctr("containers", "rm", "seen");
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    rmSync(dir, { recursive: true, force: true });
  });

  test("metrics: containers by containerd's names, tasks, calls, the process", async () => {
    const text = await get("/v1/metrics");
    const labels = '{container_id="seen",namespace="default",runtime="io.containerd.runc.v2"}';
    const v1 = text.includes(`container_cpu_total_nanoseconds${labels}`);
    const v2 = text.includes(`container_cpu_usage_usec_microseconds${labels}`);
    assert.ok(v1 || v2, text.slice(-2000));
    assert.ok(text.includes(`\ncontainer_pids_current${labels} 1\n`));
    assert.match(text, /^containerd_tasks\{namespace="default",status="running"\} 1$/m);
    assert.match(text, /^grpc_server_handled_total\{.*grpc_code="OK".*\} \d+$/m);
    for (const name of ["resident_memory_bytes", "open_fds", "max_fds", "virtual_memory_bytes"])
      assert.match(text, new RegExp(`^process_${name} \\d+$`, "m"));
    // known before their first call, so that a rate has a start
    const never =
      'grpc_method="Checkpoint",grpc_service="containerd.services.tasks.v1.Tasks",grpc_type="unary"';
    assert.ok(text.includes(`grpc_server_started_total{${never}} 0\n`));
    assert.ok(text.includes(`grpc_server_msg_received_total{${never}} 0\n`));
    const create = 'grpc_method="Create",grpc_service="containerd.services.tasks.v1.Tasks",grpc_type="unary"';
    assert.match(text, new RegExp(`^grpc_server_msg_sent_total\\{${create}\\} [1-9]`, "m"));
    // every family is announced once, before its samples
    const types = [...text.matchAll(/^# TYPE (\S+) /gm)].map((m) => m[1]);
    assert.equal(new Set(types).size, types.length);
  });

  test("health, readiness and the page with its script", async () => {
    assert.equal(await get("/healthz"), "ok\n");
    assert.equal(await get("/readyz"), "ok\n");
    assert.match(await get("/"), /<script src="\/page.js"><\/script>/);
    assert.match(await get("/page.js"), /EventSource/);
    const head = await fetch(`${url}/`);
    assert.match(head.headers.get("content-security-policy") ?? "", /default-src 'self'/);
    for (const method of ["POST", "PUT", "DELETE"])
      assert.equal(
        (await fetch(`${url}/status.json`, { method })).status,
        404,
        "nothing can be changed here",
      );
  });

  test("status: containers with what they use, images, open calls", async () => {
    const status = JSON.parse(await get("/status.json")) as {
      daemon: { ready: boolean };
      namespaces: {
        name: string;
        containers: { id: string; status: string; memory: number }[];
        images: { name: string }[];
        contentBytes: number;
      }[];
    };
    assert.equal(status.daemon.ready, true);
    const ns = status.namespaces.find((n) => n.name === "default");
    assert.deepEqual(
      ns?.containers.map((c) => [c.id, c.status, c.memory > 0]),
      [["seen", "running", true]],
    );
    assert.deepEqual(
      ns?.images.map((i) => i.name),
      ["gantry.local/pause:latest"],
    );
    assert.ok((ns?.contentBytes ?? 0) > 0);
  });

  test("events are streamed", async () => {
    const ended = new AbortController();
    const answer = await fetch(`${url}/events`, { signal: ended.signal });
    const reader = answer.body?.getReader();
    assert.ok(reader !== undefined);
    ok("namespaces", "create", "fresh");
    let text = "";
    while (!text.includes("/namespaces/create")) {
      const { value, done } = await reader.read();
      assert.equal(done, false);
      text += new TextDecoder().decode(value);
    }
    assert.match(text, /"namespace":"fresh"/);
    ended.abort();
    ok("namespaces", "rm", "fresh");
  });

  test("profiles: Debian's ctr and ours read the debug socket", () => {
    assert.match(ok("pprof", "-d", socket, "goroutines"), /^\d+ calls run$/m);
    const ours = spawnSync(BUN, [MAIN, "ctr", "pprof", "profile", "-d", socket, "-s", "200ms"], {
      encoding: "utf8",
    });
    assert.equal(ours.status, 0, ours.stderr);
    assert.ok(Array.isArray((JSON.parse(ours.stdout) as { nodes: unknown[] }).nodes));
    const none = spawnSync(BUN, [MAIN, "ctr", "pprof", "block", "-d", socket], { encoding: "utf8" });
    assert.equal(none.status, 1);
    assert.match(none.stderr, /no such profile/);
  });

  test("USR1: a dump in the log and in a file", async () => {
    child.kill("SIGUSR1");
    const path = join(tmpdir(), `containerd.${child.pid}.stacks.log`);
    await until("the dump", () => readFileSync(join(dir, "log"), "utf8").includes(`path=${path}`));
    assert.match(readFileSync(path, "utf8"), /calls run/);
    rmSync(path);
  });
});
