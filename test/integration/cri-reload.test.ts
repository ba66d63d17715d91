/** A reload of CRI's keys: new pods are made by the new values, those that run stay as they are. Needs root, runc and CNI plugins. */
import assert from "node:assert/strict";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "./client.ts";
import { CriBed, cannotRun } from "./cri-bed.ts";

test("keys of CRI's runtime are taken live", { skip: cannotRun, timeout: 120_000 }, async () => {
  await using bed = await CriBed.start({ runtime: "enable_unprivileged_ports = true" });
  const ports = async (containerId: string): Promise<string> => {
    const cmd = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
    const { stdout } = await bed.runtime.execSync({ containerId, cmd });
    return new TextDecoder().decode(stdout).trim();
  };
  const start = async (name: string): Promise<string> => {
    const pod = bed.pod(name);
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config: pod });
    return await bed.runContainer(podSandboxId, pod, bed.container("c", "sleep 1000"));
  };
  const before = await start("before");
  assert.equal(await ports(before), "0");
  const path = join(bed.dir, "config.toml");
  const text = readFileSync(path, "utf8").replace(
    "enable_unprivileged_ports = true",
    "enable_unprivileged_ports = false\nenable_selinux = true",
  );
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  await until("the reload", () => bed.log().includes("configuration reloaded"));
  const said =
    bed
      .log()
      .split("\n")
      .find((line) => line.includes("configuration reloaded")) ?? "";
  assert.match(said, /applied=\S*enable_unprivileged_ports/);
  assert.match(said, /needs_restart=\S*enable_selinux/);
  const after = await start("after");
  assert.equal(await ports(after), "1024");
  assert.equal(await ports(before), "0");
  const { info } = await bed.runtime.status({ verbose: true });
  assert.match(info["config"] ?? "", /"enableUnprivilegedPorts": ?false|"enable_unprivileged_ports": ?false/);
});
