/** Containers over CRI: want of memory, resources, logs, lists, PID modes, networks from a template. Needs root; see cri-bed.ts. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  CgroupDriver,
  ContainerState,
  NamespaceMode,
  PodSandboxState,
} from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { until } from "./client.ts";
import { CriBed, cannotRun } from "./cri-bed.ts";

describe("containers", { skip: cannotRun }, () => {
  let bed: CriBed;
  let podSandboxId: string;
  let config: ReturnType<CriBed["pod"]>;

  before(async () => {
    bed = await CriBed.start();
    config = bed.pod("host", { labels: { app: "test" } });
    ({ podSandboxId } = await bed.runtime.runPodSandbox({ config }));
  });
  after(async () => {
    await bed[Symbol.asyncDispose]();
  });

  const status = async (containerId: string) => (await bed.runtime.containerStatus({ containerId })).status;
  const exited = (id: string): Promise<void> =>
    until("it exits", async () => (await status(id))?.state === ContainerState.CONTAINER_EXITED, 30_000);
  const log = (name: string): string => {
    const path = join(bed.dir, "logs/host", `${name}.log`);
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  };

  test("a container that wants too much memory ends as OOMKilled, each time", async () => {
    for (let i = 0; i < 5; i++) {
      const id = await bed.runContainer(
        podSandboxId,
        config,
        bed.container(`hungry${i}`, "x=a; while :; do x=$x$x; done", {
          linux: { resources: { memoryLimitInBytes: 16n << 20n } },
        }),
      );
      await exited(id);
      const ended = await status(id);
      assert.equal(ended?.reason, "OOMKilled");
      assert.equal(ended?.exitCode, 137);
    }
  });

  test("resources change while it runs, and are what the status shows", async () => {
    const id = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("sized", "sleep 1000", {
        linux: { resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 200n } },
      }),
    );
    await bed.runtime.updateContainerResources({
      containerId: id,
      linux: { memoryLimitInBytes: 128n << 20n, cpuQuota: 20_000n, cpuPeriod: 100_000n },
    });
    const { resources } = (await status(id)) ?? {};
    assert.equal(resources?.linux?.memoryLimitInBytes, 128n << 20n);
    assert.equal(resources?.linux?.cpuShares, 200n);
    const { stdout } = await bed.runtime.execSync({
      containerId: id,
      cmd: [
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true",
      ],
    });
    assert.match(new TextDecoder().decode(stdout), /134217728/);
    await bed.restart();
    assert.equal((await status(id))?.resources?.linux?.memoryLimitInBytes, 128n << 20n);
    await bed.runtime.stopContainer({ containerId: id, timeout: 0n });
    await assert.rejects(
      bed.runtime.updateContainerResources({ containerId: id, linux: { cpuShares: 300n } }),
      (err) => codeOf(err) === "failed-precondition",
    );
  });

  test("a log that was renamed away is opened anew; a stopped container has none to open", async () => {
    const id = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("chatty", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"),
    );
    const path = join(bed.dir, "logs/host/chatty.log");
    await until("it writes", () => log("chatty").includes("line 3"));
    renameSync(path, `${path}.1`);
    await bed.runtime.reopenContainerLog({ containerId: id });
    await until("it writes on", () => log("chatty").split("\n").length > 4);
    await bed.runtime.stopContainer({ containerId: id, timeout: 0n });
    const numbers = [...`${readFileSync(`${path}.1`, "utf8")}${log("chatty")}`.matchAll(/line (\d+)/g)].map(
      (m) => Number(m[1]),
    );
    assert.deepEqual(
      numbers,
      numbers.map((_n, i) => i + 1),
      "no line is lost or doubled",
    );
    await assert.rejects(bed.runtime.reopenContainerLog({ containerId: id }), /not running/);
  });

  test("a log path that leaves the pod's directory is refused", async () => {
    for (const logPath of ["../../escape.log", "/../escape.log", "a/../../b"])
      await assert.rejects(
        bed.runtime.createContainer({
          podSandboxId,
          config: { ...bed.container("path", "true"), logPath },
          sandboxConfig: config,
        }),
        /leaves the log directory/,
        logPath,
      );
  });

  test("PID mode TARGET sees the other container's processes; a target in another pod is refused", async () => {
    const target = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("target", "sleep 987", {
        linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
      }),
    );
    const aim = (targetId: string) => ({
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.TARGET, targetId } } },
    });
    const id = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("looker", "ps -o args", aim(target)),
    );
    await exited(id);
    assert.match(log("looker"), /sleep 987/);
    const other = bed.pod("other");
    const { podSandboxId: otherPod } = await bed.runtime.runPodSandbox({ config: other });
    await assert.rejects(
      bed.runtime.createContainer({
        podSandboxId: otherPod,
        config: bed.container("no", "true", aim(target)),
        sandboxConfig: other,
      }),
      /invalid target container/,
    );
    await bed.runtime.stopPodSandbox({ podSandboxId: otherPod });
    await assert.rejects(
      bed.runtime.createContainer({ podSandboxId: otherPod, config: bed.container("late", "true") }),
      /is not running/,
    );
    await bed.runtime.removePodSandbox({ podSandboxId: otherPod });
  });

  test("lists by id, state, labels and pod; streams say the same", async () => {
    const { containerId } = await bed.runtime.createContainer({
      podSandboxId,
      config: bed.container("listed", "true", { labels: { tier: "x" } }),
      sandboxConfig: config,
    });
    const ids = async (
      filter: Parameters<typeof bed.runtime.listContainers>[0]["filter"],
    ): Promise<string[]> => {
      const unary = (await bed.runtime.listContainers(filter === undefined ? {} : { filter })).containers.map(
        (c) => c.id,
      );
      const streamed: string[] = [];
      for await (const part of bed.runtime.streamContainers(filter === undefined ? {} : { filter }))
        streamed.push(...part.containers.map((c) => c.id));
      assert.deepEqual(streamed, unary);
      return unary;
    };
    assert.deepEqual(await ids({ id: containerId.slice(0, 10) }), [containerId]);
    assert.deepEqual(await ids({ labelSelector: { tier: "x" } }), [containerId]);
    assert.deepEqual(await ids({ labelSelector: { tier: "y" } }), []);
    assert.ok((await ids({ podSandboxId })).includes(containerId));
    assert.ok(
      (await ids({ state: { state: ContainerState.CONTAINER_CREATED } })).includes(containerId) &&
        !(await ids({ state: { state: ContainerState.CONTAINER_RUNNING } })).includes(containerId),
    );
    const pods = async (labelSelector: Record<string, string>): Promise<number> =>
      (
        await bed.runtime.listPodSandbox({
          filter: { labelSelector, state: { state: PodSandboxState.SANDBOX_READY } },
        })
      ).items.length;
    assert.equal(await pods({ app: "test" }), 1);
    assert.equal(await pods({ app: "none" }), 0);
  });

  test("Status and RuntimeConfig; a network that goes away makes the node not ready, and ready when it comes back", async () => {
    const { linux } = await bed.runtime.runtimeConfig({});
    assert.equal(linux?.cgroupDriver, CgroupDriver.CGROUPFS);
    const answer = await bed.runtime.status({ verbose: true });
    assert.deepEqual(
      answer.runtimeHandlers.map((h) => h.name),
      ["", "runc"],
    );
    for (const text of Object.values(answer.info)) JSON.parse(text);
    assert.equal(JSON.parse(answer.info["lastCNILoadStatus"] ?? ""), "OK");
    const file = join(bed.dir, "cni/10-test.conflist");
    const network = async () =>
      (await bed.runtime.status({})).status?.conditions.find((c) => c.type === "NetworkReady");
    renameSync(file, `${file}.off`);
    await until("not ready", async () => (await network())?.status === false);
    assert.equal((await network())?.reason, "NetworkPluginNotReady");
    await assert.rejects(bed.runtime.runPodSandbox({ config: bed.pod("nonet") }), /no network configuration/);
    renameSync(`${file}.off`, file);
    await until("ready", async () => (await network())?.status === true);
  });
});

test("the pod CIDR fills the network template, once", { skip: cannotRun }, async () => {
  await using bed = await CriBed.start();
  await bed.killDaemon();
  const template = join(bed.dir, "template");
  const dir = join(bed.dir, "net.d");
  writeFileSync(
    template,
    `{"cniVersion":"1.0.0","name":"from-template","plugins":[{"type":"bridge","bridge":"tpl${bed.tag}","ipam":{"type":"host-local",
      "dataDir":"${bed.dir}/ipam2","ranges":[{{range $i, $r := .PodCIDRRanges}}{{if $i}},{{end}}[{"subnet":"{{$r}}"}]{{end}}]}}]}`,
  );
  const path = join(bed.dir, "config.toml");
  writeFileSync(
    path,
    readFileSync(path, "utf8").replace(
      `conf_dir = "${bed.dir}/cni"`,
      `conf_dir = "${dir}"\nconf_template = "${template}"`,
    ),
  );
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  await bed.startDaemon();
  await bed.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: "10.44.0.0/24" } } });
  assert.deepEqual(readdirSync(dir), ["10-containerd-net.conflist"]);
  const { podSandboxId } = await bed.runtime.runPodSandbox({ config: bed.pod("templated") });
  const { status } = await bed.runtime.podSandboxStatus({ podSandboxId });
  assert.match(status?.network?.ip ?? "", /^10\.44\.0\./);
  const before = readFileSync(join(dir, "10-containerd-net.conflist"), "utf8");
  await bed.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: "10.55.0.0/24" } } });
  assert.equal(readFileSync(join(dir, "10-containerd-net.conflist"), "utf8"), before);
});
