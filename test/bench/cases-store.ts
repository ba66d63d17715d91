/** P11 lists of many objects; P13 output of a container; P14 creates while garbage is collected. */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Containers } from "../../src/api/gen/containerd/services/containers/v1/containers_pb.ts";
import { Content, WriteAction } from "../../src/api/gen/containerd/services/content/v1/content_pb.ts";
import { Images } from "../../src/api/gen/containerd/services/images/v1/images_pb.ts";
import { Leases } from "../../src/api/gen/containerd/services/leases/v1/leases_pb.ts";
import { Snapshots } from "../../src/api/gen/containerd/services/snapshots/v1/snapshots_pb.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { imageName } from "../fixtures/images.ts";
import { peerBin } from "../peers/peer.ts";
import type { Bench, Engine } from "./engine.ts";
import { interleave, median, type Row, timed } from "./measure.ts";

/** A namespace of its own, so that lists hold what the case made and nothing else. */
const NAMESPACE = "bench-lists";
const headers = (lease?: string) => ({
  headers: new Map([
    ["containerd-namespace", [NAMESPACE]],
    ...(lease === undefined ? [] : ([["containerd-lease", [lease]]] as const)),
  ] as [string, string[]][]),
});
const SPEC = {
  typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
  value: new TextEncoder().encode(
    JSON.stringify({ ociVersion: "1.0.2", process: { args: ["true"], cwd: "/" } }),
  ),
};
const COUNTS = { containers: 500, images: 1_000, snapshots: 5_000 };
/** Calls in flight while objects are made. */
const WIDTH = 32;

async function many(count: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await work(i);
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
}

const clients = (engine: Engine) => {
  const transport = createGrpcTransport({ path: engine.daemon.address });
  return {
    transport,
    containers: createClient(Containers, transport),
    images: createClient(Images, transport),
    snapshots: createClient(Snapshots, transport),
    content: createClient(Content, transport),
    leases: createClient(Leases, transport),
  };
};

/** P11: lists at full size, and how the cost grows from a tenth of it. */
export async function lists(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  const engines = [bench.ours, bench.reference] as const;
  const all = engines.map(clients);
  const digest = bench.images.digest("busybox");
  for (const engine of engines)
    engine.ctr("-n", NAMESPACE, "images", "import", bench.images.archive("busybox"));
  const at = async (share: number): Promise<Record<string, [number[], number[]]>> => {
    const out: Record<string, [number[], number[]]> = {};
    for (const c of all) {
      const upTo = (n: number): [number, number] => [share === 1 ? n / 10 : 0, n * share];
      const make = async (n: number, work: (i: number) => Promise<unknown>): Promise<void> => {
        const [from, to] = upTo(n);
        await many(to - from, (i) => work(from + i));
      };
      await make(COUNTS.containers, (i) =>
        c.containers.create(
          { container: { id: `c${i}`, runtime: { name: "io.containerd.runc.v2" }, spec: SPEC } },
          headers(),
        ),
      );
      const target = { digest, mediaType: "application/vnd.oci.image.manifest.v1+json", size: 1n };
      await make(COUNTS.images, (i) =>
        c.images.create({ image: { name: `bench/${i}:x`, target } }, headers()),
      );
      await make(COUNTS.snapshots, (i) =>
        c.snapshots.prepare(
          { snapshotter: "native", key: `s${i}`, labels: { "containerd.io/gc.root": "bench" } },
          headers(),
        ),
      );
    }
    const kinds: Record<string, (c: ReturnType<typeof clients>) => Promise<unknown>> = {
      containers: (c) => c.containers.list({}, headers()),
      images: (c) => c.images.list({}, headers()),
      async snapshots(c) {
        for await (const _ of c.snapshots.list({ snapshotter: "native" }, headers()));
      },
    };
    for (const [name, ask] of Object.entries(kinds)) {
      const [o, r] = all as [ReturnType<typeof clients>, ReturnType<typeof clients>];
      const found = await interleave(bench.few * 3, {
        ours: () => timed(() => ask(o)),
        reference: () => timed(() => ask(r)),
      });
      out[name] = [found.ours, found.reference];
    }
    return out;
  };
  try {
    const small = await at(0.1);
    const full = await at(1);
    for (const [name, count] of Object.entries(COUNTS)) {
      const [ours, reference] = full[name] ?? [[], []];
      const growth = (side: 0 | 1): number =>
        median(full[name]?.[side] ?? []) / median(small[name]?.[side] ?? []);
      const note = `growth for 10x: ${growth(0).toFixed(1)}, theirs ${growth(1).toFixed(1)}`;
      rows.push({
        id: "P11",
        what: `list of ${count} ${name}`,
        unit: "ms",
        ours,
        reference,
        goal: 0.8,
        note,
      });
    }
  } finally {
    for (const c of all) {
      await many(COUNTS.containers, (i) => c.containers.delete({ id: `c${i}` }, headers()).catch(() => {}));
      await many(COUNTS.images, (i) => c.images.delete({ name: `bench/${i}:x` }, headers()).catch(() => {}));
      await many(COUNTS.snapshots, (i) =>
        c.snapshots.remove({ snapshotter: "native", key: `s${i}` }, headers()).catch(() => {}),
      );
      await c.transport.close();
    }
  }
  return rows;
}

const OUTPUT_MB = 128;

/** P13: what a container writes, through its shim to the client; as a rate of the whole run. */
export async function output(bench: Bench): Promise<Row[]> {
  const command = `dd if=/dev/zero bs=65536 count=${OUTPUT_MB * 16} 2>/dev/null`;
  for (const engine of [bench.ours, bench.reference])
    engine.ctr("images", "import", bench.images.archive("busybox"));
  const once = (engine: Engine, tty: boolean) => (round: number) =>
    timed(() => {
      const flags = tty ? ["--log-uri", `file://${join(engine.daemon.dir, "out.log")}`] : [];
      const id = `p13-${process.pid}-${engine.name.replace(".", "")}-${tty ? "f" : "p"}${round + 1}`;
      const what = ["sh", "-c", `${command} | tr '\\0' x`];
      const args = ["-a", engine.daemon.address, "run", "--rm", ...flags, imageName("busybox"), id, ...what];
      execFileSync(join(peerBin("1.6"), "ctr"), args, {
        stdio: ["ignore", "ignore", "inherit"],
        timeout: 120_000,
      });
    }).then((ms) => OUTPUT_MB / 1.048576 / (ms / 1000));
  const rows: Row[] = [];
  for (const [file, what] of [
    [false, "to the client's FIFO"],
    [true, "to a file"],
  ] as const) {
    const found = await interleave(bench.few, {
      ours: once(bench.ours, file),
      reference: once(bench.reference, file),
    });
    rows.push({
      id: "P13",
      what: `${OUTPUT_MB} MiB of output ${what}, run and all`,
      unit: "MB/s",
      ...found,
      goal: 0.9,
    });
  }
  return rows;
}

const BLOBS = 10_000;
const SNAPSHOTS = 5_000;
const CREATES = 200;

/** P14: 99th percentile of containers' creates, idle and while 10,000 blobs and 5,000 snapshots are collected. */
export async function collection(bench: Bench): Promise<Row[]> {
  const measure = async (engine: Engine): Promise<{ idle: number; busy: number }> => {
    const c = clients(engine);
    let n = 0;
    const creates = async (): Promise<number> => {
      const times: number[] = [];
      for (let i = 0; i < CREATES; i++) {
        const id = `p14-${n++}`;
        const container = { id, runtime: { name: "io.containerd.runc.v2" }, spec: SPEC };
        times.push(await timed(() => c.containers.create({ container }, headers())));
        await c.containers.delete({ id }, headers());
        await delay(2);
      }
      return times.sort((a, b) => a - b)[Math.floor(CREATES * 0.99)] ?? Number.NaN;
    };
    try {
      const lease = `gc-${randomBytes(4).toString("hex")}`;
      await c.leases.create({ id: lease }, headers());
      await many(BLOBS, async (i) => {
        const data = new TextEncoder().encode(`blob ${lease} ${i}`);
        const expected = `sha256:${createHash("sha256").update(data).digest("hex")}`;
        const total = BigInt(data.length);
        const request = {
          action: WriteAction.COMMIT,
          ref: `${lease}-${i}`,
          offset: 0n,
          data,
          total,
          expected,
        };
        for await (const _ of c.content.write(one(request), headers(lease)));
      });
      await many(SNAPSHOTS, (i) =>
        c.snapshots.prepare({ snapshotter: "native", key: `${lease}-${i}` }, headers(lease)),
      );
      const idle = await creates();
      const collected = c.leases.delete({ id: lease, sync: true }, headers());
      const busy = await creates();
      await collected;
      return { idle, busy };
    } finally {
      await c.transport.close();
    }
  };
  const ours = await measure(bench.ours);
  const reference = await measure(bench.reference);
  const what = `p99 of a create, ${BLOBS} blobs and ${SNAPSHOTS} snapshots being collected`;
  const note = `idle ${ours.idle.toFixed(1)}, theirs ${reference.idle.toFixed(1)} ms`;
  return [{ id: "P14", what, unit: "ms", ours: [ours.busy], reference: [reference.busy], note }];
}

async function* one<T>(value: T): AsyncGenerator<T> {
  yield value;
}
