import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MetricsSchema } from "../../api/gen/containerd/cgroups/v1/metrics_pb.ts";
import { goJson } from "./go-json.ts";

test("names of the .proto file, nothing that is zero, exact numbers", () => {
  const message = create(MetricsSchema, {
    pids: { current: 1n },
    cpu: { usage: { total: 13_597_444n, perCpu: [1n, 2n] }, throttling: {} },
    memory: { usage: { limit: 9_223_372_036_854_771_712n }, hierarchicalMemoryLimit: 5n },
    hugetlb: [{ usage: 3n, pagesize: "2MB" }],
  });
  const text = goJson(MetricsSchema, message);
  assert.match(text, /"limit": 9223372036854771712\b/);
  assert.match(text, /"per_cpu": \[\n {8}1,\n {8}2\n {6}\]/);
  assert.match(text, /"throttling": \{\}/);
  assert.deepEqual(JSON.parse(text), {
    hugetlb: [{ usage: 3, pagesize: "2MB" }],
    pids: { current: 1 },
    cpu: { usage: { total: 13_597_444, per_cpu: [1, 2] }, throttling: {} },
    memory: { hierarchical_memory_limit: 5, usage: { limit: Number("9223372036854771712") } },
  });
});
