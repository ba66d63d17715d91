/**
 * Exec, attach, logs, statistics, events and NRI of a whole CRI engine: our daemon with real pods, asked over gRPC. Needs root,
 * runc, CNI plugins.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfigSchema,
  ContainerEventType,
  ContainerState,
  NamespaceMode,
  RuntimeService,
} from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { builtinArchive } from "../../src/oci/builtin/images.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Client, Transport } from "../../src/rpc/types.ts";
import { connectPlugin, type PluginOptions, type TestPlugin } from "../fakes/nri-plugin.ts";
import { BUSYBOX, type CriPeer, startCri } from "../peers/cri-peer.ts";
import { Client as TaskClient, until } from "./client.ts";
import { ourBin } from "./program.ts";
import { parentOf, taskRow } from "./tasks.ts";

let peer: CriPeer;
let transport: Transport;
let cri: Client<typeof RuntimeService>;
let names = 0;

before(
  async () => {
    peer = await startCri({
      program: `${ourBin()}/containerd`,
      args: [],
      path: ourBin(),
      ctr: `${ourBin()}/ctr`,
      pause: await builtinArchive("pause"),
      more: (dir) => `[plugins."io.containerd.nri.v1.nri"]
  socket_path = "${dir}/nri.sock"
  plugin_path = "${dir}/nri-plugins"
  plugin_request_timeout = "2s"
`,
    });
    transport = createGrpcTransport({ path: peer.address });
    cri = createClient(RuntimeService, transport);
  },
  { timeout: 60_000 },
);
after(async () => {
  await transport?.close();
  await peer?.stop();
});

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A pod for the body; gone after it. */
async function withPod(body: (pod: PodUnderTest) => Promise<void>): Promise<void> {
  const name = `pod${++names}`;
  const config = {
    metadata: { name, uid: `${name}-${peer.tag}`, namespace: "test", attempt: 0 },
    logDirectory: join(peer.dir, "logs", name),
    linux: { cgroupParent: `/gantry-${peer.tag}/${name}` },
  };
  mkdirSync(config.logDirectory, { recursive: true });
  const { podSandboxId: id } = await cri.runPodSandbox({ config });
  try {
    await body({
      id,
      name,
      logs: config.logDirectory,
      async start(args, more = {}) {
        const container = `c${++names}`;
        const { containerId } = await cri.createContainer({
          podSandboxId: id,
          config: {
            metadata: { name: container, attempt: 0 },
            image: { image: BUSYBOX },
            command: args,
            logPath: `${container}.log`,
            ...more,
          },
          sandboxConfig: config,
        });
        await cri.startContainer({ containerId });
        return containerId;
      },
    });
  } finally {
    await cri.stopPodSandbox({ podSandboxId: id });
    await cri.removePodSandbox({ podSandboxId: id });
  }
}

interface PodUnderTest {
  readonly id: string;
  readonly name: string;
  readonly logs: string;
  start(
    args: string[],
    more?: Partial<Exclude<MessageInitShape<typeof ContainerConfigSchema>, { $typeName: string }>>,
  ): Promise<string>;
}

async function run(containerId: string, ...cmd: string[]): Promise<string> {
  const said = await cri.execSync({ containerId, cmd, timeout: 10n });
  assert.equal(said.exitCode, 0, text(said.stderr));
  return text(said.stdout);
}

/** Open files of the daemon. */
function openFiles(): number {
  return readdirSync(`/proc/${peer.pid}/fd`).length;
}

function rss(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${peer.pid}/status`, "utf8"))?.[1]) * 1024;
}

/** Folders of streams that were not removed. */
function streamFolders(): string[] {
  try {
    return readdirSync(join(peer.dir, "state/io.containerd.grpc.v1.cri/io"));
  } catch {
    return [];
  }
}

test("ExecSync: a hundred at once, some fail, some time out, some leave a child: nothing is left", () =>
  withPod(async (pod) => {
    const containerId = await pod.start(["sleep", "1000"]);
    await run(containerId, "true");
    const files = openFiles();
    const commands = [
      ["true"],
      ["sh", "-c", "sleep 9876 & echo left"],
      ["no-such-program"],
      ["sh", "-c", "sleep 9876 & sleep 9876"],
    ];
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_, at) =>
        cri.execSync({ containerId, cmd: commands[at % 4] ?? [], timeout: at % 8 < 4 ? 3n : 2n }),
      ),
    );
    outcomes.forEach((outcome, at) => {
      if (at % 4 === 2) assert.ok(outcome.status === "rejected" && /not found/.test(String(outcome.reason)));
      else if (at % 4 === 3)
        assert.ok(outcome.status === "rejected" && codeOf(outcome.reason) === "deadline-exceeded");
      else if (outcome.status === "rejected") throw outcome.reason;
      else assert.equal(text(outcome.value.stdout), at % 4 === 1 ? "left\n" : "");
    });
    assert.deepEqual(streamFolders(), []);
    await until("open files are as before", () => openFiles() <= files + 6);
    // those of the commands that ended by themselves stay: they are the container's
    const left = (await run(containerId, "ps", "-o", "args")).split("\n");
    assert.equal(left.filter((line) => line === "sleep 9876").length, 25);
  }));

test("ExecSync: endless output takes no memory and is drained", () =>
  withPod(async (pod) => {
    const containerId = await pod.start(["sleep", "1000"]);
    await run(containerId, "true");
    const before = rss();
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, rss());
    }, 50);
    const failed = await cri
      .execSync({ containerId, cmd: ["sh", "-c", "yes & yes >&2"], timeout: 5n })
      .catch((err: unknown) => err);
    clearInterval(timer);
    assert.equal(codeOf(failed), "deadline-exceeded");
    assert.ok(most - before < 48 << 20, `${((most - before) / 2 ** 20).toFixed(1)} MiB`);
    const once = await cri.execSync({
      containerId,
      cmd: ["sh", "-c", "dd if=/dev/zero bs=1M count=64 2>/dev/null"],
      timeout: 30n,
    });
    assert.ok(once.stdout.length > 15_000_000 && once.stdout.length < 16 << 20);
  }));

test("a shim that hangs: its execs end with their callers, statistics and other pods go on", () =>
  withPod((stuck) =>
    withPod(async (fine) => {
      const [containerId, other] = [
        await stuck.start(["sleep", "1000"]),
        await fine.start(["sleep", "1000"]),
      ];
      const ctr = new TaskClient([`${ourBin()}/ctr`], peer.address, "k8s.io");
      const shim = parentOf((await taskRow(ctr, containerId)).pid);
      const files = openFiles();
      process.kill(shim, "SIGSTOP");
      try {
        const calls = Array.from({ length: 20 }, () =>
          cri.execSync({ containerId, cmd: ["true"], timeout: 1n }, { timeoutMs: 1000 }),
        );
        for (const outcome of await Promise.allSettled(calls))
          assert.ok(outcome.status === "rejected" && codeOf(outcome.reason) === "deadline-exceeded");
        const { stats } = await cri.listContainerStats({});
        assert.ok(stats.find((each) => each.attributes?.id === containerId)?.cpu !== undefined);
        await run(other, "true");
      } finally {
        process.kill(shim, "SIGCONT");
      }
      await run(containerId, "true");
      await until("nothing is left of them", async () => {
        const left = (await run(containerId, "ps", "-o", "args"))
          .split("\n")
          .filter((line) => line === "true");
        return left.length === 0 && streamFolders().length === 0 && openFiles() <= files + 6;
      });
    }),
  ));

test("a log stays byte-exact while clients attach and leave and it is rotated", () =>
  withPod(async (pod) => {
    const containerId = await pod.start([
      "sh",
      "-c",
      "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done; echo done; sleep 1000",
    ]);
    const path = join(pod.logs, readdirSync(pod.logs)[0] ?? "");
    const parts: string[] = [];
    const files = openFiles();
    for (let turn = 0; turn < 20; turn++) {
      const { url } = await cri.attach({ containerId, stdout: true, stderr: true });
      const client = peerClient(url);
      renameSync(path, `${path}.${turn}`);
      parts.push(`${path}.${turn}`);
      await cri.reopenContainerLog({ containerId });
      await client.upgraded;
      client.drop();
    }
    const logged = (): string => [...parts, path].map((part) => readFileSync(part, "utf8")).join("");
    await until("the last line", () => logged().includes("stdout F done"));
    const said = logged()
      .trimEnd()
      .split("\n")
      .map((line) => /^\d{4}-\S+Z stdout F (.*)$/.exec(line)?.[1]);
    assert.equal(said.length, 20_001);
    said.slice(0, 20_000).forEach((line, at) => {
      assert.equal(line, `line-${at}`);
    });
    await until(
      "attached clients are forgotten",
      () => openFiles() <= files + 6 && streamFolders().length === 0,
    );
  }));

/** A WebSocket client of the engine's loopback, raw: only to be there and to leave. */
function peerClient(url: string): { upgraded: Promise<void>; drop(): void } {
  const { hostname, port, pathname } = new URL(url);
  const request = [
    `GET ${pathname} HTTP/1.1`,
    `Host: ${hostname}:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol: v5.channel.k8s.io",
    "",
    "",
  ].join("\r\n");
  const script = `const s = require("node:net").connect(${port}, "${hostname}", () => s.write(${JSON.stringify(request)})); s.on("data", (d) => process.stdout.write(d));`;
  const [program, ...args] = peer.wrap(process.execPath, ["-e", script]);
  const child: ChildProcess = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  return {
    upgraded: new Promise((resolve) => child.stdout?.once("data", () => resolve())),
    drop: () => child.kill("SIGKILL"),
  };
}

test("attach: input reaches the process; its end is the process's only with stdin_once", () =>
  withPod(async (pod) => {
    const attach = (id: string) => {
      const flags = ["-r", `unix://${peer.address}`, "attach", "-i", id];
      const [program, ...args] = peer.wrap(`${ourBin()}/crictl`, flags);
      const child = spawn(program, args, { stdio: ["pipe", "ignore", "inherit"] });
      return { child, ended: new Promise<number | null>((resolve) => child.once("close", resolve)) };
    };
    const state = async (containerId: string) => (await cri.containerStatus({ containerId })).status;
    const logOf = (name: string): string =>
      readFileSync(
        join(pod.logs, readdirSync(pod.logs).filter((each) => each.startsWith(name))[0] ?? ""),
        "utf8",
      );
    const once = await pod.start(["cat"], { stdin: true, stdinOnce: true, logPath: "once.log" });
    const client = attach(once);
    client.child.stdin.end("hello\n");
    assert.equal(await client.ended, 0);
    await until("the end of cat", async () => (await state(once))?.state === ContainerState.CONTAINER_EXITED);
    assert.equal((await state(once))?.exitCode, 0);
    assert.match(logOf("once"), /stdout F hello\n$/);
    const script = "read a; echo got-$a; read b; echo $a-$b";
    const twice = await pod.start(["sh", "-c", script], { stdin: true, logPath: "twice.log" });
    const first = attach(twice);
    first.child.stdin.write("one\n");
    await until("the first line is taken", () => logOf("twice").includes("got-one"));
    first.child.kill("SIGKILL");
    await first.ended;
    const second = attach(twice);
    second.child.stdin.end("two\n");
    assert.equal(await second.ended, 0);
    assert.match(logOf("twice"), /stdout F one-two\n$/);
  }));

test("statistics of containers and pods, and their metrics", () =>
  withPod(async (pod) => {
    const containerId = await pod.start(
      ["sh", "-c", "dd if=/dev/zero of=/tmp/f bs=1M count=4 2>/dev/null; while :; do :; done"],
      {
        linux: {
          resources: {
            memoryLimitInBytes: 64n << 20n,
            cpuQuota: 50_000n,
            cpuPeriod: 100_000n,
            cpuShares: 512n,
          },
        },
      },
    );
    await cri.containerStats({ containerId });
    await until("half a processor is seen", async () => {
      const { stats } = await cri.containerStats({ containerId });
      const cores = stats?.cpu?.usageNanoCores?.value ?? 0n;
      return (
        cores > 100_000_000n && cores < 700_000_000n && (stats?.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n
      );
    });
    // layers are measured every 10 s by default, the first time perhaps before the file is there
    await until(
      "the writable layer is measured",
      async () => {
        const { stats } = await cri.containerStats({ containerId });
        return (stats?.writableLayer?.usedBytes?.value ?? 0n) >= 4n << 20n;
      },
      40_000,
    );
    const { stats } = await cri.containerStats({ containerId });
    assert.equal(stats?.attributes?.id, containerId);
    assert.ok((stats?.memory?.workingSetBytes?.value ?? 0n) > 0n);
    const available = stats?.memory?.availableBytes?.value ?? 0n;
    assert.ok(available > 0n && available < 64n << 20n);
    const listed = await cri.listContainerStats({ filter: { podSandboxId: pod.id } });
    assert.deepEqual(
      listed.stats.map((each) => each.attributes?.id),
      [containerId],
    );
    const streamed = await Array.fromAsync(cri.streamContainerStats({ filter: { id: containerId } }));
    assert.equal(streamed.flatMap((each) => each.containerStats).length, 1);

    const { linux, attributes } = (await cri.podSandboxStats({ podSandboxId: pod.id })).stats ?? {};
    assert.equal(attributes?.metadata?.name, pod.name);
    assert.equal(linux?.network?.defaultInterface?.name, "eth0");
    assert.equal(linux?.containers.length, 1);
    // the container's shell and the pod's own process
    assert.equal(linux?.process?.processCount?.value, 2n);
    assert.ok((linux?.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
    assert.equal((await cri.listPodSandboxStats({ filter: { id: pod.id } })).stats.length, 1);

    const { descriptors } = await cri.listMetricDescriptors({});
    const keys = new Map(descriptors.map((each) => [each.name, each.labelKeys]));
    assert.ok(keys.size >= 49);
    const { podMetrics } = await cri.listPodSandboxMetrics({});
    const mine = podMetrics.find((each) => each.podSandboxId === pod.id);
    const all = [...(mine?.metrics ?? []), ...(mine?.containerMetrics[0]?.metrics ?? [])];
    for (const metric of all)
      assert.equal(metric.labelValues.length, keys.get(metric.name)?.length, metric.name);
    const value = (name: string): bigint | undefined => all.find((each) => each.name === name)?.value?.value;
    assert.equal(value("container_spec_memory_limit_bytes"), 64n << 20n);
    assert.equal(value("container_spec_cpu_quota"), 50_000n);
    assert.equal(value("container_threads"), 1n);
    assert.equal(value("container_processes"), 1n);
    assert.ok((value("container_cpu_cfs_periods_total") ?? 0n) > 0n);
    assert.ok((value("container_fs_usage_bytes") ?? 0n) >= 4n << 20n);
    assert.ok(value("container_network_receive_bytes_total") !== undefined);
    // what does not run has its attributes only
    await cri.stopContainer({ containerId, timeout: 0n });
    const still = (await cri.containerStats({ containerId })).stats;
    assert.deepEqual([still?.attributes?.id, still?.cpu], [containerId, undefined]);
    await assert.rejects(cri.containerStats({ containerId: "none" }), (err) => codeOf(err) === "not-found");
  }));

test("events reach every subscriber with the states of pod and containers", async () => {
  const stop = new AbortController();
  const seen: [string, string, number][][] = [[], []];
  const readers = seen.map(async (list) => {
    try {
      for await (const event of cri.getContainerEvents({}, { signal: stop.signal }))
        list.push([
          event.containerId,
          ContainerEventType[event.containerEventType],
          event.containersStatuses.find(({ id }) => id === event.containerId)?.state ?? -1,
        ]);
    } catch (err) {
      if (!stop.signal.aborted) throw err;
    }
  });
  let [podId, containerId] = ["", ""];
  await withPod(async (pod) => {
    podId = pod.id;
    containerId = await pod.start(["sh", "-c", "exit 3"]);
    await until("its end", async () => {
      const { status } = await cri.containerStatus({ containerId });
      return status?.state === ContainerState.CONTAINER_EXITED;
    });
    await cri.removeContainer({ containerId });
  });
  for (const list of seen)
    await until("the last event", () => list.some(([id, kind]) => id === podId && /DELETED/.test(kind)));
  stop.abort();
  await Promise.all(readers);
  for (const list of seen) {
    const of = (id: string) => list.filter(([each]) => each === id);
    assert.deepEqual(of(containerId), [
      [containerId, "CONTAINER_CREATED_EVENT", ContainerState.CONTAINER_CREATED],
      [containerId, "CONTAINER_STARTED_EVENT", ContainerState.CONTAINER_RUNNING],
      [containerId, "CONTAINER_STOPPED_EVENT", ContainerState.CONTAINER_EXITED],
      [containerId, "CONTAINER_DELETED_EVENT", -1],
    ]);
    assert.deepEqual(
      of(podId).map(([, kind]) => kind),
      ["CREATED", "STARTED", "STOPPED", "DELETED"].map((kind) => `CONTAINER_${kind}_EVENT`),
    );
  }
});

/** A plugin for the body that has joined. */
async function withPlugin(
  options: PluginOptions,
  body: (plugin: TestPlugin) => Promise<void>,
): Promise<void> {
  const plugin = await connectPlugin(join(peer.dir, "nri.sock"), options);
  try {
    await plugin.called("synchronize");
    await until("the plugin has joined", () =>
      peer
        .log()
        .split("\n")
        .some(
          (line) => line.includes("NRI plugin joined") && line.includes(`${options.index}-${options.name}`),
        ),
    );
    await body(plugin);
  } finally {
    plugin.close();
  }
}

test("NRI: what a plugin adjusts is what the container gets; others are updated and evicted", async () => {
  await withPod(async (pod) => {
    const other = await pod.start(["sleep", "1000"]);
    const victim = await pod.start(["sleep", "1000"]);
    const adjust = {
      annotations: { "nri.example/x": "y" },
      env: [{ key: "FROM_NRI", value: "yes" }],
      mounts: [{ destination: "/nri", type: "tmpfs", source: "tmpfs", options: ["size=1m"] }],
      args: ["sleep", "2000"],
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 111n, hard: 222n }],
      linux: {
        oomScoreAdj: { value: 999n },
        devices: [{ path: "/dev/nri-null", type: "c", major: 1n, minor: 3n, fileMode: { value: 0o666 } }],
        sysctl: { "kernel.shm_rmid_forced": "1" },
        resources: { pids: { limit: 55n }, memory: { limit: { value: 33n << 20n } } },
      },
    };
    await withPlugin(
      {
        name: "adjust",
        index: "10",
        handlers: {
          createContainer: () => ({
            adjust,
            update: [{ containerId: other, linux: { resources: { cpu: { shares: { value: 333n } } } } }],
            evict: [{ containerId: victim, reason: "test" }],
          }),
          postCreateContainer: () => ({}),
          startContainer: () => ({}),
          postStartContainer: () => ({}),
          stopContainer: () => ({}),
          removeContainer: () => ({}),
          updateContainer: (r) => ({
            update: [
              {
                containerId: r.container?.id ?? "",
                linux: { resources: { cpu: { shares: { value: 777n } } } },
              },
            ],
          }),
        },
      },
      async (plugin) => {
        const own = { linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } } };
        const containerId = await pod.start(["sleep", "1"], own);
        assert.equal(await run(containerId, "sh", "-c", "echo $FROM_NRI"), "yes\n");
        assert.match(await run(containerId, "cat", "/proc/1/cmdline"), /^sleep\x002000/);
        assert.match(await run(containerId, "grep", " /nri ", "/proc/mounts"), /tmpfs .*size=1024k/);
        assert.match(await run(containerId, "cat", "/proc/1/limits"), /Max open files\s+111\s+222/);
        assert.equal(await run(containerId, "cat", "/proc/1/oom_score_adj"), "999\n");
        await run(containerId, "sh", "-c", "echo x > /dev/nri-null");
        assert.equal(await run(containerId, "cat", "/proc/sys/kernel/shm_rmid_forced"), "1\n");
        const { stats } = await cri.containerStats({ containerId });
        assert.ok((stats?.memory?.availableBytes?.value ?? 0n) <= 33n << 20n);
        const { stats: otherStats } = await cri.containerStats({ containerId: other });
        assert.ok(otherStats !== undefined);
        assert.equal(sharesOf(other, pod.name), "333");
        await until("the victim is stopped", async () => {
          const { status } = await cri.containerStatus({ containerId: victim });
          return status?.state === ContainerState.CONTAINER_EXITED;
        });
        await cri.updateContainerResources({ containerId, linux: { cpuShares: 128n } });
        assert.equal(sharesOf(containerId, pod.name), "777");
        assert.deepEqual(
          (
            await plugin.update([
              { containerId: other, linux: { resources: { cpu: { shares: { value: 444n } } } } },
            ])
          ).failed,
          [],
        );
        assert.equal(sharesOf(other, pod.name), "444");
        const missing = await plugin.update([{ containerId: "nobody", linux: { resources: {} } }]);
        assert.equal(missing.failed[0]?.containerId, "nobody");
        await cri.stopContainer({ containerId, timeout: 0n });
        await cri.removeContainer({ containerId });
        const steps = ["createContainer", "postCreateContainer", "startContainer", "postStartContainer"];
        assert.deepEqual(
          plugin.calls.filter((name) => steps.includes(name)),
          steps,
        );
        assert.deepEqual(plugin.calls.slice(-2), ["stopContainer", "removeContainer"]);
      },
    );
  });
});

/** cpu.shares (or the weight that stands for them). */
function sharesOf(id: string, pod: string): string {
  for (const path of [
    `/sys/fs/cgroup/cpu/gantry-${peer.tag}/${pod}/${id}/cpu.shares`,
    `/sys/fs/cgroup/cpu,cpuacct/gantry-${peer.tag}/${pod}/${id}/cpu.shares`,
  ]) {
    try {
      return readFileSync(path, "utf8").trim();
    } catch {
      // mounted under the other name
    }
  }
  throw new Error(`container ${id}: no cpu cgroup of v1`);
}

test("NRI: a plugin that hangs is closed and pods go on; one that refuses fails the request and nothing is left", async () => {
  await withPlugin(
    {
      name: "hang",
      index: "00",
      events: 1,
      handlers: { runPodSandbox: () => new Promise(() => {}) },
    },
    async (plugin) => {
      await withPod(async (pod) => assert.match(pod.id, /^[0-9a-f]{64}$/));
      await plugin.closed;
    },
  );
  let refuse = true;
  await withPlugin(
    {
      name: "refuse",
      index: "00",
      handlers: {
        createContainer: () => {
          if (refuse) throw new Error("not today");
          return {};
        },
      },
    },
    () =>
      withPod(async (pod) => {
        await assert.rejects(pod.start(["sleep", "1000"]), /not today/);
        assert.deepEqual((await cri.listContainers({ filter: { podSandboxId: pod.id } })).containers, []);
        refuse = false;
        await pod.start(["sleep", "1000"]);
      }),
  );
});
