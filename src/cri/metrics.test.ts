import assert from "node:assert/strict";
import { test } from "node:test";
import { MetricRegistry } from "../core/metrics/metrics.ts";
import { CriMetrics, succeeded } from "./metrics.ts";

test("work that fails is counted but not timed, under containerd's names", async () => {
  const registry = new MetricRegistry();
  const metrics = new CriMetrics(registry);
  assert.equal(await metrics.network("set_up_pod", async () => 7), 7);
  await assert.rejects(
    metrics.network("set_up_pod", () => Promise.reject(new Error("no"))),
    /no/,
  );
  await succeeded(metrics.containerStart, async () => {}, "io.containerd.runc.v2");
  await assert.rejects(succeeded(metrics.sandboxList, () => Promise.reject(new Error("no"))));
  const values = new Map<string, number>();
  for (const { name, samples } of await registry.families(() => {}))
    for (const { suffix = "", labels, value } of samples)
      if (suffix !== "_bucket" && suffix !== "_sum")
        values.set(`${name}${suffix} ${Object.values(labels).join()}`.trim(), value);
  const network = "containerd_cri_network_plugin_operations";
  assert.equal(values.get(`${network}_total_total set_up_pod`), 2);
  assert.equal(values.get(`${network}_errors_total_total set_up_pod`), 1);
  assert.equal(values.get(`${network}_duration_seconds_seconds_count set_up_pod`), 2);
  assert.equal(values.get("containerd_cri_sandbox_create_network_seconds_count"), 1);
  assert.equal(values.get("containerd_cri_container_start_seconds_count io.containerd.runc.v2"), 1);
  assert.equal(values.get("containerd_cri_sandbox_list_seconds_count"), 0);
});
