/** P14: what a client waits for while garbage is collected. Our own client drives both daemons. */
import { setTimeout as delay } from "node:timers/promises";
import { containersClient } from "../../src/client/containers.ts";
import { contentClient } from "../../src/client/content.ts";
import { leasesClient } from "../../src/client/leases.ts";
import { snapshotterClient } from "../../src/client/snapshots.ts";
import { Call } from "../../src/core/call.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Bench, Engine } from "./engine.ts";
import type { Row } from "./measure.ts";

/** A tenth of what performance.md names: making them takes longer than collecting them. */
const BLOBS = 2_000;
const SNAPSHOTS = 1_000;
/** Layers on top of each other. */
const CHAIN = 10;
const IDLE_CALLS = 400;
const NAMESPACE = parseNamespace("bench-gc");

/** 99 of 100 samples are at most this. */
function p99(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? Number.NaN;
}

/** Milliseconds of a create, 99th percentile: idle, and while everything that a lease held is collected. */
async function once(engine: Engine, round: number): Promise<{ idle: number; busy: number }> {
  await using transport = createGrpcTransport({ path: engine.daemon.address });
  const lease = `garbage-${round}`;
  const call = new Call({}).in(NAMESPACE);
  const held = new Call({ lease }).in(NAMESPACE);
  const [leases, content] = [leasesClient(transport), contentClient(transport)];
  const snapshots = snapshotterClient(transport, "overlayfs");
  const containers = containersClient(transport);
  await leases.create(call, lease, new Map());
  let blob = 0;
  const writing = async (): Promise<void> => {
    for (let i = blob++; i < BLOBS; i = blob++) {
      const data = Buffer.from(`blob ${round} ${i} `.repeat(20));
      await using writer = await content.writer(held, { ref: `r${i}`, size: BigInt(data.length) });
      await writer.write(data);
      await writer.commit(BigInt(data.length), undefined);
    }
  };
  let chain = 0;
  const stacking = async (): Promise<void> => {
    for (let i = chain++; i < SNAPSHOTS / CHAIN; i = chain++) {
      let parent = "";
      for (let layer = 0; layer < CHAIN; layer++) {
        const name = `s${round}-${i}-${layer}`;
        await snapshots.prepare(held, `${name}-key`, parent, new Map());
        await snapshots.commit(held, name, `${name}-key`, new Map());
        parent = name;
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, writing));
  await Promise.all(Array.from({ length: 4 }, stacking));
  let made = 0;
  const create = async (): Promise<number> => {
    const id = `c${round}-${made++}`;
    const start = performance.now();
    await containers.create(call, {
      id,
      labels: new Map(),
      image: "",
      runtime: { name: "io.containerd.runc.v2" },
      spec: { typeUrl: "bench", value: new Uint8Array(3000) },
      snapshotter: "",
      snapshotKey: "",
      extensions: new Map(),
      sandbox: "",
    });
    const took = performance.now() - start;
    await delay(2);
    return took;
  };
  // what made them is written back by then
  await delay(6_000);
  const idle: number[] = [];
  for (let i = 0; i < IDLE_CALLS; i++) idle.push(await create());
  const busy: number[] = [];
  let done = false;
  const collected = leases.delete(call, lease, true).finally(() => {
    done = true;
  });
  while (!done) busy.push(await create());
  await collected;
  for (let i = 0; i < made; i++) await containers.delete(call, `c${round}-${i}`);
  return { idle: p99(idle), busy: p99(busy) };
}

/** P14. */
export async function collecting(bench: Bench): Promise<Row[]> {
  const ours: { idle: number; busy: number }[] = [];
  const reference: { idle: number; busy: number }[] = [];
  for (let round = 0; round < bench.few; round++) {
    ours.push(await once(bench.ours, round));
    reference.push(await once(bench.reference, round));
  }
  const what = `create while ${BLOBS} blobs and ${SNAPSHOTS} snapshots are collected, p99`;
  return [
    { id: "P14", what, unit: "ms", ours: ours.map((r) => r.busy), reference: reference.map((r) => r.busy) },
    {
      id: "P14",
      what: "the same, against ours idle (in the reference's column)",
      unit: "ms",
      ours: ours.map((r) => r.busy),
      reference: ours.map((r) => r.idle),
      goal: 1.5,
    },
  ];
}
