/** Pods without a process of their own (`pin_pod_namespaces`). Needs root; see cri-bed.ts. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { NamespaceMode, PodSandboxState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { until } from "./client.ts";
import { CriBed, cannotRun } from "./cri-bed.ts";

test("containers share pinned namespaces; sysctls, name and address are the pod's; restart and removal", {
  skip: cannotRun,
}, async () => {
  await using bed = await CriBed.start({ runtime: "pin_pod_namespaces = true" });
  const empty = bed.census();
  const own = { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } };
  const config = bed.pod("pinned", {
    hostname: "pinned-host",
    linux: { ...own, sysctls: { "kernel.shm_rmid_forced": "1", "net.ipv4.ip_forward": "1" } },
  });
  const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
  assert.deepEqual(bed.census().processes, [], "nothing runs for the pod");
  const script = `hostname; cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start
    readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts; readlink /proc/self/ns/net
    ip -o -4 a show eth0 | tr -s ' ' | cut -d' ' -f4; echo done; sleep 1000`;
  for (const name of ["a", "b"])
    await bed.runContainer(podSandboxId, config, bed.container(name, script, { linux: own }));
  const lines = async (name: string): Promise<string[]> => {
    const path = join(bed.dir, "logs/pinned", `${name}.log`);
    await until(`${name} is done`, () => readFileSync(path, "utf8").includes("done"));
    return readFileSync(path, "utf8")
      .split("\n")
      .flatMap((l) => l.split(" ").slice(3).join(" ") || []);
  };
  const a = await lines("a");
  const { status } = await bed.runtime.podSandboxStatus({ podSandboxId });
  assert.deepEqual(a.slice(0, 3), ["pinned-host", "1", "0"]);
  assert.equal(a[6], `${status?.network?.ip}/16`);
  assert.deepEqual(a, await lines("b"));
  await bed.restart();
  const again = (await bed.runtime.podSandboxStatus({ podSandboxId })).status;
  assert.equal(again?.state, PodSandboxState.SANDBOX_READY);
  assert.equal(again?.network?.ip, status?.network?.ip);
  await bed.removeAll();
  await until("nothing is left", () => JSON.stringify(bed.census()) === JSON.stringify(empty)).catch(() =>
    assert.deepEqual(bed.census(), empty),
  );
  // containers that share a PID namespace need a first process
  await bed.runtime.runPodSandbox({ config: bed.pod("shared") });
  assert.equal(bed.census().processes.length, 1);
});
