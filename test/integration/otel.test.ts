/** OpenTelemetry traces of a real daemon, seen by a collector of the test. Needs root and runc. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { Introspection } from "../../src/api/gen/containerd/services/introspection/v1/introspection_pb.ts";
import { Namespaces } from "../../src/api/gen/containerd/services/namespaces/v1/namespace_pb.ts";
import { TraceService } from "../../src/api/gen/opentelemetry/v1/trace_pb.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcServer } from "../../src/rpc/grpc/server.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { bindService } from "../../src/rpc/types.ts";
import { Collector, type SeenSpan } from "../fakes/otlp-collector.ts";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { until } from "./client.ts";
import { CriBed, cannotRun } from "./cri-bed.ts";
import { type Engine, startEngine } from "./engine.ts";

const images = testImages();

/** Starts our daemon with more environment. */
async function engineWith(env: Readonly<Record<string, string>>): Promise<Engine> {
  Object.assign(process.env, env);
  try {
    return await startEngine("ours");
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
  }
}

/** The span of a name below another one, or anywhere. */
function find(spans: readonly SeenSpan[], name: string, parent?: SeenSpan): SeenSpan | undefined {
  return spans.find(
    (s) =>
      s.name === name &&
      (parent === undefined || (s.parentId === parent.spanId && s.traceId === parent.traceId)),
  );
}

function need(spans: readonly SeenSpan[], name: string, parent?: SeenSpan): SeenSpan {
  const found = find(spans, name, parent);
  assert.ok(found, `no span "${name}" in:\n${spans.map((s) => s.name).join("\n")}`);
  return found;
}

/** A caller's span. */
const CALLER = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7" };

describe("traces", { skip: cannotRun }, () => {
  test("calls, a pull, a container: names, parents, codes; http/protobuf", async () => {
    await using collector = await Collector.start();
    await using registry = await startRegistry({ filled: images });
    await using engine = await engineWith({
      OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/base`,
      OTEL_EXPORTER_OTLP_HEADERS: "x-key=a%20b,x-other=1",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
      OTEL_SERVICE_NAME: "node-7",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=test,service.name=not-this",
      OTEL_BSP_SCHEDULE_DELAY: "100",
    });
    const ctr = engine.client("ours");
    const ref = registry.ref("layers10");
    await ctr.ok("images", "pull", "--plain-http", ref);
    await ctr.ok("run", "--rm", ref, engine.id("traced"));
    const deleted = (): SeenSpan | undefined =>
      find(collector.spans, "containerd.services.tasks.v1.Tasks/Delete");
    await collector.until(deleted);

    const { spans } = collector;
    const transfer = need(spans, "containerd.services.transfer.v1.Transfer/Transfer");
    assert.equal(transfer.kind, 2);
    assert.equal(transfer.attributes["rpc.system"], "grpc");
    assert.equal(transfer.attributes["rpc.service"], "containerd.services.transfer.v1.Transfer");
    assert.equal(transfer.attributes["rpc.method"], "Transfer");
    assert.equal(transfer.attributes["rpc.grpc.status_code"], 0);
    assert.equal(transfer.attributes["containerd.namespace"], engine.namespace);
    assert.equal(transfer.code, 0);
    assert.equal(transfer.resource["service.name"], "node-7");
    assert.equal(transfer.resource["deployment.environment"], "test");
    const pull = need(spans, "pull image", transfer);
    assert.equal(pull.attributes["image.name"], ref);
    need(spans, "resolve", pull);
    const unpack = need(spans, "unpack", pull);
    const layers = spans.filter((s) => s.name === "unpack layer" && s.parentId === unpack.spanId);
    assert.equal(layers.length, unpack.attributes["unpack.layers"]);
    for (const layer of layers) {
      const fetched = need(spans, "fetch", layer);
      assert.equal(fetched.attributes["content.digest"], layer.attributes["content.digest"]);
      assert.ok(BigInt(layer.start) <= BigInt(fetched.start) && BigInt(fetched.end) <= BigInt(layer.end));
    }
    const create = need(spans, "containerd.services.tasks.v1.Tasks/Create");
    need(spans, "start shim", create);
    const shim = need(spans, "containerd.task.v3.Task/Create", create);
    assert.equal(shim.kind, 3);
    assert.equal(shim.attributes["rpc.system"], "ttrpc");
    assert.ok(find(spans, "containerd.services.events.ttrpc.v1.Events/Forward"), "events of the shim");
    for (const { path, headers } of collector.requests) {
      assert.equal(path, "/base/v1/traces");
      assert.equal(headers["content-type"], "application/x-protobuf");
      assert.equal(headers["x-key"], "a b");
      assert.equal(headers["x-other"], "1");
    }
    assert.equal(new Set(spans.map((s) => s.spanId)).size, spans.length, "ids are unique");
  });

  test("the caller's trace goes on; its choice not to record counts; failures are told apart; http/json", async () => {
    await using collector = await Collector.start();
    await using engine = await engineWith({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/exact`,
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json",
      OTEL_BSP_SCHEDULE_DELAY: "100",
    });
    await using transport = createGrpcTransport({ path: engine.address });
    const namespaces = createClient(Namespaces, transport);
    const call = (flags: string) => ({
      headers: new Map([["traceparent", [`00-${CALLER.traceId}-${CALLER.spanId}-${flags}`]]]),
    });
    await namespaces.list({}, call("00"));
    await assert.rejects(namespaces.delete({ name: "none" }, call("01")), /not found/);
    const introspection = createClient(Introspection, transport);
    const failing = {
      type: "io.containerd.internal.v1",
      id: "opt",
      options: { typeUrl: "x", value: new Uint8Array() },
    };
    await assert.rejects(introspection.pluginInfo(failing, call("01")));

    const failed = await collector.until(() =>
      find(collector.spans, "containerd.services.introspection.v1.Introspection/PluginInfo"),
    );
    assert.equal(failed.code, 2, "what the server cannot do is its failure");
    assert.equal(failed.attributes["rpc.grpc.status_code"], 12);
    assert.match(failed.message, /does not answer/);
    const missing = need(collector.spans, "containerd.services.namespaces.v1.Namespaces/Delete");
    assert.equal(missing.traceId, CALLER.traceId);
    assert.equal(missing.parentId, CALLER.spanId);
    assert.equal(missing.attributes["rpc.grpc.status_code"], 5);
    assert.equal(missing.code, 0, "an answer the client asked for is no failure");
    const mine = collector.spans.filter((s) => s.traceId === CALLER.traceId).map((s) => s.name);
    assert.ok(
      !mine.includes("containerd.services.namespaces.v1.Namespaces/List"),
      "not recorded, as the caller said",
    );
    assert.equal(collector.requests[0]?.path, "/exact");
    assert.equal(collector.requests[0]?.headers["content-type"], "application/json");
  });

  test("over gRPC", async () => {
    const names: string[] = [];
    let arrived = (): void => {};
    const came = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const server = createGrpcServer({
      services: [
        bindService(TraceService, {
          export(request, context) {
            assert.equal(context.header("x-key"), "1");
            for (const r of request.resourceSpans)
              for (const s of r.scopeSpans) names.push(...s.spans.map((span) => span.name));
            if (names.includes("containerd.services.namespaces.v1.Namespaces/List")) arrived();
            return {};
          },
        }),
      ],
    });
    const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
    try {
      await using engine = await engineWith({
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
        OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
        OTEL_EXPORTER_OTLP_HEADERS: "x-key=1",
        OTEL_BSP_SCHEDULE_DELAY: "100",
      });
      await engine.client("ours").ok("namespaces", "ls");
      await came;
    } finally {
      await server.close();
    }
  });

  test("a collector that is away, refuses or is not wanted disturbs nothing", async () => {
    await using collector = await Collector.start();
    collector.answers.push(503, 400);
    await using busy = await engineWith({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_BSP_SCHEDULE_DELAY: "50",
    });
    await busy.client("ours").ok("namespaces", "ls");
    // 503 is tried again, 400 is not: later spans come in
    await collector.until(() => (collector.requests.length >= 2 ? true : undefined));
    await busy.client("ours").ok("namespaces", "create", `late-${busy.tag}`);
    await collector.until(() => find(collector.spans, "containerd.services.namespaces.v1.Namespaces/Create"));
    assert.match(busy.log(), /spans are dropped until the collector takes them.*status 503/);
    await until("the word of it", () => busy.log().includes("traces are exported again"));

    await using away = await engineWith({
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
      OTEL_BSP_SCHEDULE_DELAY: "10",
    });
    await away.client("ours").ok("namespaces", "ls");
    assert.ok(await away.end("SIGTERM"), "ends in time");

    for (const env of [{ OTEL_SDK_DISABLED: "true" }, { OTEL_TRACES_EXPORTER: "none" }]) {
      await using off = await engineWith({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...env });
      const plugins = await off.client("ours").ok("plugins", "ls");
      assert.match(plugins, /tracing\.processor\.v1 +otlp +\S+ +skip/);
      assert.match(plugins, /internal\.v1 +tracing +\S+ +skip/);
    }
  });

  test("a wrong setting is told and nothing else fails", async () => {
    await using engine = await engineWith({
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
      OTEL_EXPORTER_OTLP_PROTOCOL: "thrift",
    });
    assert.match(await engine.client("ours").ok("plugins", "ls"), /tracing\.processor\.v1 +otlp +\S+ +error/);
    assert.match(engine.log(), /OTEL_EXPORTER_OTLP_PROTOCOL .*thrift/);
  });

  test("a pod's steps are spans of the kubelet's call", async () => {
    const port = 4318;
    await using bed = await CriBed.start({
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_BSP_SCHEDULE_DELAY: "100" },
    });
    const [program, ...args] = bed.inside([
      process.execPath,
      `${import.meta.dirname}/../fakes/otlp-collector.ts`,
      String(port),
    ]);
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      await lines.next();
      const pod = bed.pod("traced");
      const { podSandboxId } = await bed.runtime.runPodSandbox({ config: pod });
      await bed.runContainer(podSandboxId, pod, bed.container("one", "exec sleep 600"));
      const spans: SeenSpan[] = [];
      while (find(spans, "runtime.v1.RuntimeService/StartContainer") === undefined) {
        const { value, done } = await lines.next();
        assert.ok(done !== true, "the collector ended");
        spans.push(JSON.parse(value) as SeenSpan);
      }
      const run = need(spans, "runtime.v1.RuntimeService/RunPodSandbox");
      need(spans, "set up the network (cni add)", run);
      const create = need(spans, "runtime.v1.RuntimeService/CreateContainer");
      need(spans, "prepare the snapshot", create);
      const start = need(spans, "runtime.v1.RuntimeService/StartContainer");
      const made = need(spans, "failed to create containerd task", start);
      need(spans, "containerd.task.v3.Task/Create", made);
      assert.ok(
        spans.every((s) => s.code === 0),
        "nothing failed",
      );
    } finally {
      child.kill();
    }
  });
});
