import assert from "node:assert/strict";
import { test } from "node:test";
import { Version } from "../../api/gen/containerd/services/version/v1/version_pb.ts";
import { Call } from "../../core/call.ts";
import { notFound } from "../../core/errors.ts";
import { createRpcMetrics } from "../../rpc/interceptors/metrics.ts";
import type { HandlerContext } from "../../rpc/types.ts";
import { renderMetrics } from "./prometheus.ts";

const context: HandlerContext = {
  call: new Call(),
  headers: new Map(),
  header: () => undefined,
  setHeader() {},
  setTrailer() {},
  method: "/containerd.services.version.v1.Version/Version",
};

test("calls are counted under the names of Go's library, with codes and buckets", async () => {
  const metrics = createRpcMetrics();
  await metrics.interceptor(Version.method.version, context, async () => {});
  await assert.rejects(
    metrics.interceptor(Version.method.version, context, async () => {
      throw notFound("x");
    }),
  );
  const text = renderMetrics(metrics, true, { version: '1"2', revision: "r" });
  const labels =
    'grpc_method="Version",grpc_service="containerd.services.version.v1.Version",grpc_type="unary"';
  assert.ok(text.includes(`grpc_server_started_total{${labels}} 2`), text);
  assert.ok(text.includes(`grpc_server_handled_total{${labels},grpc_code="NotFound"} 1`));
  assert.ok(text.includes(`grpc_server_handling_seconds_bucket{${labels},le="+Inf"} 2`));
  assert.ok(text.includes('version="1\\"2"'));
  assert.ok(!renderMetrics(metrics, false, { version: "", revision: "" }).includes("_bucket"));
});
