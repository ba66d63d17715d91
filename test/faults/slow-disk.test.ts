/**
 * A disk that takes 300 ms for each flush (reliability T2): a write waits for its flush and nobody waits with it. Every fsync of the
 * daemon is delayed by strace, in whatever thread it is. Needs root and strace.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { Containers } from "../../src/api/gen/containerd/services/containers/v1/containers_pb.ts";
import { Version } from "../../src/api/gen/containerd/services/version/v1/version_pb.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { startEngine } from "../integration/engine.ts";

const DELAY_MS = 300;
const skip =
  process.getuid?.() !== 0 || spawnSync("strace", ["-V"]).status !== 0 ? "needs root and strace" : false;

test("writes wait for the disk, questions do not", { skip, timeout: 120_000 }, async () => {
  await using engine = await startEngine("ours");
  const transport = createGrpcTransport({ path: engine.address });
  const flushes = ["fsync", "fdatasync", "syncfs"].join(",");
  const inject = `inject=${flushes}:delay_enter=${DELAY_MS * 1000}`;
  const tracer = spawn("strace", ["-f", "-p", String(engine.pid), "-e", `trace=${flushes}`, "-e", inject], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    let traced = "";
    tracer.stderr.setEncoding("utf8").on("data", (text: string) => {
      traced += text;
    });
    await once(tracer.stderr, "data");
    const headers = new Map([["containerd-namespace", [engine.namespace]]]);
    const containers = createClient(Containers, transport);
    const version = createClient(Version, transport);
    let writing = true;
    const begun = performance.now();
    const writes = Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        containers.create(
          {
            container: {
              id: `c${i}`,
              runtime: { name: "io.containerd.runc.v2" },
              spec: { typeUrl: "x", value: new Uint8Array() },
            },
          },
          { headers },
        ),
      ),
    ).finally(() => {
      writing = false;
    });
    let answers = 0;
    while (writing) {
      await version.version({});
      if (writing) answers++;
    }
    await writes;
    const took = performance.now() - begun;
    assert.match(traced, /sync\(/, "no flush was seen: the delay did not count");
    assert.ok(took >= DELAY_MS, `20 writes were answered after ${took} ms, before any flush`);
    assert.ok(answers >= 20, `${answers} answers in ${took} ms`);
    const { containers: all } = await containers.list({}, { headers });
    assert.equal(all.length, 20);
  } finally {
    await transport.close();
    tracer.kill("SIGINT");
    if (tracer.exitCode === null && tracer.signalCode === null) await once(tracer, "exit");
  }
});
