/**
 * A plugin made with NRI's own Go library against our side of the protocol: every request, adjustments of every kind, a state
 * and a request larger than one ttrpc frame buffer, updates by itself, started by us and connected by itself. Needs Go and, the
 * first time, the Go module proxy; without them the tests are skipped and say so.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { noLog } from "../../../src/core/log.ts";
import type { NriContainer, NriPod, NriUpdate } from "../../../src/core/nri/types.ts";
import { NriManager } from "../../../src/plugins/nri/manager.ts";
import { parseNriConfig } from "../../../src/plugins/nri/plugin.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-nri-go-"));
const program = join(dir, "nri-go");
let missing: string | undefined;

before(() => {
  const built = spawnSync("go", ["build", "-o", program, "."], {
    cwd: import.meta.dirname,
    encoding: "utf8",
  });
  if (built.status !== 0) missing = `go build: ${built.error?.message ?? built.stderr}`;
});
after(() => rmSync(dir, { recursive: true }));

const pod: NriPod = {
  id: "p",
  name: "pod",
  uid: "u",
  namespace: "ns",
  labels: {},
  annotations: {},
  runtimeHandler: "",
  pid: 1,
  ips: ["10.1.2.3", "fd00::3"],
  linux: { cgroupParent: "/kubepods", cgroupsPath: "", namespaces: [] },
};
const none = {
  prestart: [],
  createRuntime: [],
  createContainer: [],
  startContainer: [],
  poststart: [],
  poststop: [],
};

function container(id: string, big = 0): NriContainer {
  return {
    id,
    podSandboxId: "p",
    name: `name-${id}`,
    state: 1,
    labels: {},
    annotations: { gone: "x", big: "b".repeat(big) },
    args: ["x"],
    env: ["A=1", "OLD=1"],
    mounts: [{ destination: "/data", type: "bind", source: "/d", options: [] }],
    hooks: none,
    linux: { namespaces: [], devices: [], cgroupsPath: "", sysctl: {}, netDevices: {} },
    pid: 0,
    rlimits: [],
    createdAt: 1n,
    startedAt: 0n,
    finishedAt: 0n,
    exitCode: 3,
    statusReason: "",
    statusMessage: "",
    CDIDevices: [],
  };
}

/** Everything the plugin does in a container's life. @returns what the manager was asked */
async function life(manager: NriManager, updates: readonly NriUpdate[]): Promise<void> {
  await manager.pod("run", pod);
  const big = container("c1", 3 << 20);
  const { adjust, update } = await manager.createContainer(pod, big);
  assert.deepEqual(adjust.annotations, { "-gone": "", go: "yes" });
  assert.deepEqual(
    adjust.mounts.map(({ destination }) => destination),
    ["-/data", "/go"],
  );
  assert.deepEqual(
    adjust.env.map(({ key }) => key),
    ["-OLD", "GO"],
  );
  assert.deepEqual(adjust.args, ["sh", "-c", "true"]);
  assert.equal(adjust.hooks?.poststop[0]?.timeout?.value, 5n);
  assert.deepEqual([adjust.rlimits[0]?.hard, adjust.rlimits[0]?.soft], [2000n, 1000n]);
  const { linux } = adjust;
  assert.deepEqual(
    [linux?.devices[0]?.path, linux?.devices[0]?.fileMode?.value, linux?.namespaces[0]?.path],
    ["/dev/go", 0o666, "/proc/1/ns/uts"],
  );
  const { resources } = linux ?? {};
  assert.deepEqual(
    [
      resources?.memory?.limit?.value,
      resources?.cpu?.shares?.value,
      resources?.cpu?.quota?.value,
      resources?.cpu?.cpus,
      resources?.pids?.limit,
      resources?.unified,
    ],
    [1n << 40n, 99n, -1n, "0", 77n, { "memory.high": "max" }],
  );
  assert.deepEqual(
    [linux?.cgroupsPath, linux?.oomScoreAdj?.value, linux?.sysctl],
    ["/go/path", 500n, { "net.core.somaxconn": "64" }],
  );
  assert.equal(linux?.seccompPolicy?.syscalls[0]?.errnoRet?.value, 1);
  assert.deepEqual(
    update.map((each) => [each.containerId, each.ignoreFailure, each.linux?.resources?.cpu?.cpus]),
    [["c0", true, "1"]],
  );
  const made = container("c1");
  await manager.container("post-create", pod, made);
  await manager.container("start", pod, made);
  await manager.container("post-start", pod, made);
  const { resources: changed } = await manager.updateContainer(pod, made, {
    memory: { limit: { value: 4096n } },
    hugepageLimits: [],
    unified: {},
    devices: [],
  });
  assert.deepEqual([changed.memory?.limit?.value, changed.cpu?.mems], [4096n, "0"]);
  await manager.container("post-update", pod, made);
  await manager.updatePod(pod, undefined, {
    cpu: { shares: { value: 12n }, cpus: "", mems: "" },
    hugepageLimits: [],
    unified: {},
    devices: [],
  });
  await manager.pod("post-update", pod);
  await manager.stopContainer(pod, made);
  assert.equal(updates.at(-1)?.containerId, "c0");
  await manager.container("remove", pod, made);
  await manager.pod("stop", pod);
  await manager.pod("remove", pod);
  await assert.rejects(manager.createContainer(pod, { ...container("c2"), name: "refused" }), /go says no/);
}

const EXPECTED = [
  "run-pod pod 10.1.2.3,fd00::3 /kubepods",
  "create name-c1 A=1,OLD=1 3145728",
  "validate 10-go",
  "post-create name-c1",
  "start name-c1",
  "post-start name-c1",
  "update name-c1 4096",
  "post-update name-c1",
  "update-pod pod 12",
  "post-update-pod pod",
  "stop name-c1 3",
  "updated 0 <nil>",
  "remove name-c1",
  "stop-pod pod",
  "remove-pod pod",
  "create refused A=1,OLD=1 0",
];

function bed(): {
  manager: NriManager;
  server: Server;
  path: string;
  updates: NriUpdate[];
  start(): Promise<void>;
} {
  const path = join(dir, "nri.sock");
  const updates: NriUpdate[] = [];
  const server = createServer((socket) => manager.connect(socket));
  const manager: NriManager = new NriManager(
    {
      ...parseNriConfig({ plugin_registration_timeout: "10s", plugin_request_timeout: "10s" }),
      pluginPath: join(dir, "plugins"),
      pluginConfigPath: join(dir, "conf"),
    },
    "v0",
    noLog,
    () => new Promise((resolve) => server.listen(path, resolve)),
  );
  return {
    manager,
    server,
    path,
    updates,
    start: () =>
      manager.start({
        snapshot: async () => ({
          pods: [pod],
          containers: Array.from({ length: 64 }, (_, at) => container(`c${at}`, 200_000)),
        }),
        update: async (all) => {
          updates.push(...all);
          return [];
        },
        evict: async () => {},
      }),
  };
}

test("a Go plugin that connects", { timeout: 120_000 }, async (t) => {
  if (missing !== undefined) return t.skip(missing);
  const { manager, server, path, updates, start } = bed();
  await start();
  const child: ChildProcess = spawn(program, [path], { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  const synchronized = Promise.withResolvers<void>();
  child.stdout?.on("data", (text) => {
    said += String(text);
    if (said.includes("synchronize")) synchronized.resolve();
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  try {
    await synchronized.promise;
    while (manager.plugins.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await life(manager, updates);
  } finally {
    await manager.close();
    await ended;
    await new Promise((resolve) => server.close(resolve));
  }
  assert.deepEqual(said.trim().split("\n"), [
    "configure  containerd v0",
    // more than the 4 MiB of one message
    `synchronize 1 64 ${64 * 200_000}`,
    ...EXPECTED,
  ]);
});

test("a Go plugin that we start", { timeout: 120_000 }, async (t) => {
  if (missing !== undefined) return t.skip(missing);
  for (const name of ["plugins", "conf"]) mkdirSync(join(dir, name));
  copyFileSync(program, join(dir, "plugins/real"));
  // its output would go nowhere
  const out = join(dir, "out");
  writeFileSync(join(dir, "plugins/10-go"), `#!/bin/sh\nexec ${dir}/plugins/real > ${out}\n`, {
    mode: 0o755,
  });
  writeFileSync(join(dir, "conf/go.conf"), "the-config");
  const { manager, server, updates, start } = bed();
  await start();
  try {
    assert.deepEqual(manager.plugins, ["10-go"]);
    await life(manager, updates);
  } finally {
    await manager.close();
    await new Promise((resolve) => server.close(resolve));
  }
  assert.deepEqual(readFileSync(out, "utf8").trim().split("\n"), [
    "configure the-config containerd v0",
    `synchronize 1 64 ${64 * 200_000}`,
    ...EXPECTED,
  ]);
});
