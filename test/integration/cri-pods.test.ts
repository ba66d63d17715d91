/** Pods and containers over CRI: real daemon, shim, runc, CNI bridge. Needs root; see cri-bed.ts. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ContainerState, PodSandboxState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { until } from "./client.ts";
import { CNI_BIN, CriBed, cannotRun } from "./cri-bed.ts";

describe("pods", { skip: cannotRun }, () => {
  let bed: CriBed;
  let empty: ReturnType<CriBed["census"]>;

  before(async () => {
    bed = await CriBed.start();
    empty = bed.census();
  });
  after(async () => {
    await bed[Symbol.asyncDispose]();
  });

  /** Replaces the bridge plugin by a script; `real` in it runs the real one. */
  function bridge(script: string): void {
    const path = join(bed.dir, "cni-bin/bridge");
    writeFileSync(path, `#!/bin/sh\nreal() { exec ${CNI_BIN}/bridge; }\n${script}\n`);
    chmodSync(path, 0o755);
  }
  const honest = (): void => bridge("real");
  /** Nothing is left of any pod. */
  async function clean(): Promise<void> {
    await bed.removeAll();
    await until("nothing is left", () => {
      try {
        assert.deepEqual(bed.census(), empty);
        return true;
      } catch {
        return false;
      }
    }).catch(() => assert.deepEqual(bed.census(), empty));
  }

  test("a pod and a container: address, log, exit code and reason, shared shim, removal", async () => {
    const config = bed.pod("life");
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
    const { status } = await bed.runtime.podSandboxStatus({ podSandboxId });
    assert.equal(status?.state, PodSandboxState.SANDBOX_READY);
    assert.match(status?.network?.ip ?? "", /^10\.97\./);
    const id = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("c", "hostname; ip -o -4 a show eth0; echo to stderr >&2; exit 3"),
    );
    await until("it exits", async () => {
      const { status } = await bed.runtime.containerStatus({ containerId: id });
      return status?.state === ContainerState.CONTAINER_EXITED;
    });
    const { status: ended } = await bed.runtime.containerStatus({ containerId: id });
    assert.equal(ended?.exitCode, 3);
    assert.equal(ended?.reason, "Error");
    assert.ok((ended?.finishedAt ?? 0n) >= (ended?.startedAt ?? 0n));
    const log = readFileSync(ended?.logPath ?? "", "utf8");
    assert.match(log, new RegExp(`^\\S+ stdout F .*${status?.network?.ip}/16`, "m"));
    assert.match(log, /^\S+ stderr F to stderr$/m);
    assert.match(bed.ctr("containers", "ls"), new RegExp(id));
    assert.match(bed.ctr("sandboxes", "ls"), new RegExp(podSandboxId.slice(0, 12)));
    // unambiguous beginnings of ids are ids
    assert.equal((await bed.runtime.containerStatus({ containerId: id.slice(0, 12) })).status?.id, id);
    await clean();
    await assert.rejects(
      bed.runtime.podSandboxStatus({ podSandboxId }),
      (err) => codeOf(err) === "not-found",
    );
    // stop and remove of what is gone succeed
    await bed.runtime.stopPodSandbox({ podSandboxId });
    await bed.runtime.removePodSandbox({ podSandboxId });
  });

  test("stop sends the stop signal, kills after the timeout, and is repeatable", async () => {
    const config = bed.pod("stop");
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
    const soft = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("soft", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"),
    );
    const hard = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("hard", "trap '' TERM; echo up; while :; do sleep 0.05; done"),
    );
    for (const name of ["soft", "hard"])
      await until(`${name} is up`, () => {
        const path = join(bed.dir, "logs/stop", `${name}.log`);
        return existsSync(path) && readFileSync(path, "utf8").includes("up");
      });
    await bed.runtime.stopContainer({ containerId: soft, timeout: 20n });
    await bed.runtime.stopContainer({ containerId: soft, timeout: 20n });
    await bed.runtime.stopContainer({ containerId: hard, timeout: 1n });
    const exit = async (containerId: string): Promise<number | undefined> =>
      (await bed.runtime.containerStatus({ containerId })).status?.exitCode;
    assert.equal(await exit(soft), 7);
    assert.equal(await exit(hard), 137);
    await clean();
  });

  test("a start that fails: Exited, 128, StartError", async () => {
    const config = bed.pod("broken");
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
    const { containerId } = await bed.runtime.createContainer({
      podSandboxId,
      config: { ...bed.container("c", ""), command: ["/no/such/program"] },
      sandboxConfig: config,
    });
    await assert.rejects(bed.runtime.startContainer({ containerId }), /no such file/);
    const { status } = await bed.runtime.containerStatus({ containerId });
    assert.equal(status?.state, ContainerState.CONTAINER_EXITED);
    assert.equal(status?.exitCode, 128);
    assert.equal(status?.reason, "StartError");
    await clean();
  });

  test("a network that cannot be set up leaves nothing, and its words reach the caller", async () => {
    bridge(`[ "$CNI_COMMAND" = ADD ] || real
      echo '{"cniVersion":"1.0.0","code":100,"msg":"no addresses today"}'; exit 1`);
    await assert.rejects(bed.runtime.runPodSandbox({ config: bed.pod("nonet") }), /no addresses today/);
    assert.deepEqual((await bed.runtime.listPodSandbox({})).items, []);
    honest();
    await clean();
  });

  test("a detach that fails is tried again, by us and by the kubelet", async () => {
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config: bed.pod("sticky") });
    const broken = join(bed.dir, "broken");
    writeFileSync(broken, "");
    bridge(`[ -e ${broken} ] && [ "$CNI_COMMAND" = DEL ] && { echo '{"code":100,"msg":"not now"}'; exit 1; }
      real`);
    await assert.rejects(bed.runtime.stopPodSandbox({ podSandboxId }), /not now/);
    assert.equal(bed.census().addresses.length, 1);
    await assert.rejects(bed.runtime.removePodSandbox({ podSandboxId }), /not now/);
    // the configuration may change meanwhile: what was attached is detached
    writeFileSync(join(bed.dir, "cni/10-test.conflist"), readFileSync(join(bed.dir, "cni/10-test.conflist")));
    bridge("real");
    await bed.runtime.stopPodSandbox({ podSandboxId });
    await clean();
  });

  test("a plugin that hangs blocks neither Status nor other pods; the identical retry gets the slow pod", async () => {
    const gate = join(bed.dir, "gate");
    bridge(`case "$CNI_COMMAND $CNI_ARGS" in
      ADD*K8S_POD_NAME=slow*) while [ ! -e ${gate} ]; do sleep 0.02; done;; esac
      real`);
    const config = bed.pod("slow");
    await assert.rejects(
      bed.runtime.runPodSandbox({ config }, { timeoutMs: 300 }),
      (err) => codeOf(err) === "deadline-exceeded",
    );
    // the plugin hangs until the gate opens, below
    const { status } = await bed.runtime.status({}, { timeoutMs: 30_000 });
    assert.ok(status?.conditions.every((c) => c.status));
    // another pod of another name is not held up
    await bed.runtime.runPodSandbox({ config: bed.pod("quick") });
    // another pod with the same name is refused, the same pod is not
    const other = { ...config, hostname: "other" };
    await assert.rejects(bed.runtime.runPodSandbox({ config: other }), /is reserved for/);
    const retried = bed.runtime.runPodSandbox({ config });
    writeFileSync(gate, "");
    const { podSandboxId } = await retried;
    assert.equal((await bed.runtime.podSandboxStatus({ podSandboxId })).status?.state, 0);
    honest();
    await clean();
  });

  test("a pod that nobody waited for is given to the retry that comes after it was made", async () => {
    const gate = join(bed.dir, "gate2");
    bridge(`case "$CNI_COMMAND $CNI_ARGS" in
      ADD*K8S_POD_NAME=orphan*) while [ ! -e ${gate} ]; do sleep 0.02; done;; esac
      real`);
    const config = bed.pod("orphan");
    await assert.rejects(bed.runtime.runPodSandbox({ config }, { timeoutMs: 300 }));
    writeFileSync(gate, "");
    await until("it is made", async () => (await bed.runtime.listPodSandbox({})).items.length === 1);
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
    assert.equal((await bed.runtime.listPodSandbox({})).items[0]?.id, podSandboxId);
    await assert.rejects(bed.runtime.runPodSandbox({ config }), /is reserved for/);
    honest();
    await clean();
  });
});

describe("recovery", { skip: cannotRun }, () => {
  test("running, ended, created and lost containers have the right state after a kill", async () => {
    await using bed = await CriBed.start();
    const empty = bed.census();
    const config = bed.pod("kept");
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
    const run = (name: string, script: string): Promise<string> =>
      bed.runContainer(podSandboxId, config, bed.container(name, script));
    const running = await run("running", "sleep 1000");
    const ending = await run("ending", "while [ ! -e /flag ]; do sleep 0.02; done; exit 9");
    const { containerId: created } = await bed.runtime.createContainer({
      podSandboxId,
      config: bed.container("created", "true"),
      sandboxConfig: config,
    });
    const pid = Number(
      JSON.parse(
        (await bed.runtime.containerStatus({ containerId: ending, verbose: true })).info["info"] ?? "{}",
      ).pid,
    );
    await bed.killDaemon();
    writeFileSync(`/proc/${pid}/root/flag`, "");
    await until("it ends", () => !existsSync(`/proc/${pid}/root/flag`));
    await bed.startDaemon();
    const state = async (containerId: string) => (await bed.runtime.containerStatus({ containerId })).status;
    assert.equal((await state(running))?.state, ContainerState.CONTAINER_RUNNING);
    assert.equal((await state(created))?.state, ContainerState.CONTAINER_CREATED);
    await until(
      "the end is known",
      async () => (await state(ending))?.state === ContainerState.CONTAINER_EXITED,
      3_000,
    );
    assert.equal((await state(ending))?.exitCode, 9);
    const pod = (await bed.runtime.podSandboxStatus({ podSandboxId })).status;
    assert.equal(pod?.state, PodSandboxState.SANDBOX_READY);
    assert.match(pod?.network?.ip ?? "", /^10\.97\./);
    await bed.runtime.startContainer({ containerId: created });
    // the name is still taken
    await assert.rejects(bed.runtime.runPodSandbox({ config }), /is reserved for/);
    await bed.removeAll();
    await until("nothing is left", () => bed.census().processes.length === empty.processes.length);
    assert.deepEqual({ ...bed.census(), processes: [] }, { ...empty, processes: [] });
  });

  test("a plugin that outlives the daemon is ended before its pod is cleaned up", async () => {
    await using bed = await CriBed.start();
    const empty = bed.census();
    const gate = join(bed.dir, "gate");
    const begun = join(bed.dir, "begun");
    writeFileSync(
      join(bed.dir, "cni-bin/bridge"),
      `#!/bin/sh
      [ "$CNI_COMMAND" = ADD ] && { touch ${begun}; while [ ! -e ${gate} ]; do sleep 0.02; done; }
      exec ${CNI_BIN}/bridge`,
    );
    const running = bed.runtime.runPodSandbox({ config: bed.pod("late") }).catch(() => {});
    await until("ADD has begun", () => existsSync(begun));
    await bed.killDaemon();
    await running;
    await bed.startDaemon();
    const [pod] = (await bed.runtime.listPodSandbox({})).items;
    assert.equal(pod?.state, PodSandboxState.SANDBOX_NOTREADY);
    await bed.removeAll();
    writeFileSync(gate, "");
    assert.match(bed.log(), /network plugins of an earlier life were ended/);
    await until("nothing is left", () => JSON.stringify(bed.census()) === JSON.stringify(empty)).catch(() =>
      assert.deepEqual(bed.census(), empty),
    );
  });

  test("a daemon that is killed anywhere in RunPodSandbox leaves nothing that stop and remove do not take", async () => {
    await using bed = await CriBed.start();
    // the first pod brings the image and the bridge
    await bed.runtime.runPodSandbox({ config: bed.pod("warm") });
    await bed.removeAll();
    const empty = bed.census();
    const rounds = Number(process.env["GANTRY_CRASH_ROUNDS"] ?? 12);
    for (let round = 0; round < rounds; round++) {
      const running = bed.runtime.runPodSandbox({ config: bed.pod(`crash${round}`) }).then(
        () => "made",
        () => "cut",
      );
      // a pod takes about a tenth of a second here: the kills are spread over it
      const after = (round * 140) / rounds;
      await new Promise((resolve) => setTimeout(resolve, after));
      await bed.killDaemon();
      const outcome = await running;
      await bed.startDaemon();
      await bed.removeAll();
      await until(`round ${round} (${outcome} after ${after} ms) left nothing`, () => {
        const now = bed.census();
        return (
          JSON.stringify({ ...now, processes: now.processes.length <= empty.processes.length }) ===
          JSON.stringify({ ...empty, processes: true })
        );
      }).catch((err: unknown) => {
        assert.deepEqual(bed.census(), empty, String(err));
      });
    }
  });
});
