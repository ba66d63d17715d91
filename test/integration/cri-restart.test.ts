/**
 * A daemon that is killed with pods and with execs in progress: the next one answers with every pod and container as they are,
 * clients of execs hear of the end, and nothing of the execs stays. Needs root, runc, CNI plugins.
 *
 * GANTRY_TEST_PODS: number of pods (12).
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ContainerState, PodSandboxState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { until } from "./client.ts";
import { CriBed, cannotRun } from "./cri-bed.ts";
import { ourBin } from "./program.ts";

const PODS = Number(process.env["GANTRY_TEST_PODS"] ?? 12);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

async function pidOf(bed: CriBed, containerId: string): Promise<number> {
  const { info } = await bed.runtime.containerStatus({ containerId, verbose: true });
  return Number(JSON.parse(info["info"] ?? "{}").pid);
}

test("many pods over a kill of the daemon: the first answer knows all of them, and all run on", {
  skip: cannotRun,
}, async () => {
  await using bed = await CriBed.start();
  const empty = bed.census();
  const pids = new Map<string, number>();
  await Promise.all(
    Array.from({ length: PODS }, async (_, index) => {
      const config = bed.pod(`many${index}`);
      const { podSandboxId } = await bed.runtime.runPodSandbox({ config }, { timeoutMs: 120_000 });
      const id = await bed.runContainer(podSandboxId, config, bed.container("main", "exec sleep 1000"));
      pids.set(id, await pidOf(bed, id));
    }),
  );
  const took = await bed.restart();
  const { items } = await bed.runtime.listPodSandbox({});
  const { containers } = await bed.runtime.listContainers({});
  console.log(`# ${PODS} pods: the first answer ${Math.round(took)} ms after the start`);
  assert.equal(items.filter((pod) => pod.state === PodSandboxState.SANDBOX_READY).length, PODS);
  assert.equal(containers.filter((c) => c.state === ContainerState.CONTAINER_RUNNING).length, PODS);
  for (const [id, pid] of pids) {
    assert.ok(existsSync(`/proc/${pid}`), `${id} runs`);
    assert.equal(await pidOf(bed, id), pid);
  }
  const [one = ""] = pids.keys();
  const said = await bed.runtime.execSync({ containerId: one, cmd: ["echo", "here"], timeout: 10n });
  assert.equal(text(said.stdout), "here\n");
  await bed.removeAll();
  await until("nothing is left", () => bed.census().processes.length === empty.processes.length);
  assert.deepEqual({ ...bed.census(), processes: [] }, { ...empty, processes: [] });
});

test("execs over a kill of the daemon: their clients hear of it, and they leave their shim when they end", {
  skip: cannotRun,
}, async () => {
  await using bed = await CriBed.start();
  const config = bed.pod("execs");
  const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
  const script = "touch /main; exec sleep 1000";
  const containerId = await bed.runContainer(podSandboxId, config, bed.container("main", script));
  const pid = await pidOf(bed, containerId);
  const inside = (name: string): string => `/proc/${pid}/root/${name}`;
  await until("it runs", () => existsSync(inside("main")));

  const waits = "touch /sync; while [ ! -e /go ]; do sleep 0.05; done; echo done >/sync-done";
  const sync = bed.runtime.execSync({ containerId, cmd: ["sh", "-c", waits] }, { timeoutMs: 60_000 });
  const failed = assert.rejects(sync);
  const endpoint = `unix://${bed.address}`;
  const [first, ...rest] = bed.inside([join(ourBin(), "crictl"), "-r", endpoint, "exec", "-it", containerId]);
  const command = [first, ...rest, "sh", "-c", "'touch /tty; read line; echo $line >/line; exec sh'"];
  const client = spawn("script", ["-qefc", command.join(" "), "/dev/null"], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  const left = once(client, "exit");
  await until("both execs run", () => existsSync(inside("sync")) && existsSync(inside("tty")));
  const inTask = (): number => bed.ctr("tasks", "ps", containerId).trim().split("\n").length - 1;
  assert.ok(inTask() >= 3);

  await bed.killDaemon();
  await failed;
  const [code] = await left;
  assert.notEqual(code, 0, "a terminal that was cut off is no success");
  await bed.startDaemon();
  assert.equal(await pidOf(bed, containerId), pid);

  // new execs work beside those of before
  const said = await bed.runtime.execSync({ containerId, cmd: ["echo", "new"], timeout: 10n });
  assert.equal(text(said.stdout), "new\n");
  writeFileSync(inside("go"), "");
  await until("the command goes on to its end", () => existsSync(inside("sync-done")));
  await until("its shim knows it no more", () => leftOf(bed) >= 1);
  // the shell waits for input that nobody can give any more: who ends it, has it removed too
  await bed.runtime.execSync({
    containerId,
    cmd: ["sh", "-c", "kill -9 $(pidof sh | tr ' ' '\\n' | grep -v $$)"],
    timeout: 10n,
  });
  await until("the shell left its shim", () => leftOf(bed) === 2);
  await until("only the container's own process is left", () => inTask() === 1);
  assert.deepEqual(streams(bed), []);
});

/** Execs of before that the daemon removed. */
function leftOf(bed: CriBed): number {
  return bed.log().split("exec of an earlier life ended").length - 1;
}

/** FIFOs of execs. */
function streams(bed: CriBed): string[] {
  const dir = join(bed.dir, "state/io.containerd.grpc.v1.cri/io");
  return existsSync(dir) ? readdirSync(dir) : [];
}
