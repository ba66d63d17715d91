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

async function many(count: number, width: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await work(i);
  };
  await Promise.all(Array.from({ length: width }, worker));
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
        await many(to - from, WIDTH, (i) => work(from + i));
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
      await many(COUNTS.containers, WIDTH, (i) =>
        c.containers.delete({ id: `c${i}` }, headers()).catch(() => {}),
      );
      await many(COUNTS.images, WIDTH, (i) =>
        c.images.delete({ name: `bench/${i}:x` }, headers()).catch(() => {}),
      );
      await many(COUNTS.snapshots, WIDTH, (i) =>
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

/** Blobs and snapshots that are collected; the whole number takes the reference many minutes to make. */
const GARBAGE = { some: { blobs: 2_000, snapshots: 1_000 }, all: { blobs: 10_000, snapshots: 5_000 } };
/** Rounds at the smaller size: a 99th percentile of few hundred creates says little. */
const ROUNDS = 3;
/** Creates that are measured idle, before and after, and at least while garbage is collected. */
const CREATES = 400;
/** Calls in flight while garbage is made: the reference gains nothing from more than its disk can take. */
const MAKERS = 64;

/** Times of creates in ms, and the wall time of the collection they ran beside. */
interface Collected {
  readonly idle: number[];
  readonly busy: number[];
  readonly seconds: number;
}

/** P14: 99th percentile of containers' creates, idle and while blobs and snapshots are collected. */
export async function collection(bench: Bench): Promise<Row[]> {
  const { blobs, snapshots } = GARBAGE[bench.full ? "all" : "some"];
  const ours: Collected[] = [];
  const reference: Collected[] = [];
  for (let round = 0; round < (bench.full ? 1 : ROUNDS); round++) {
    ours.push(await collected(bench.ours, blobs, snapshots));
    reference.push(await collected(bench.reference, blobs, snapshots));
  }
  const p99 = (times: readonly number[]): number =>
    [...times].sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Number.NaN;
  const of = (rounds: readonly Collected[], what: (round: Collected) => number): number[] => rounds.map(what);
  const about = (rounds: readonly Collected[]): string =>
    `idle ${median(of(rounds, (r) => p99(r.idle))).toFixed(1)} ms, longest while collecting ` +
    `${Math.max(...of(rounds, (r) => Math.max(...r.busy))).toFixed(0)} ms, collected in ` +
    `${median(of(rounds, (r) => r.seconds)).toFixed(1)} s`;
  const grown = ({ idle, busy }: Collected): number => p99(busy) / p99(idle);
  return [
    {
      id: "P14",
      what: `p99 of a create while ${blobs} blobs and ${snapshots} snapshots are collected`,
      unit: "ms",
      ours: of(ours, (r) => p99(r.busy)),
      reference: of(reference, (r) => p99(r.busy)),
      note: `ours ${about(ours)}; theirs ${about(reference)}`,
    },
    {
      id: "P14",
      what: "the same as a multiple of idle",
      unit: "x",
      ours: of(ours, grown),
      reference: of(reference, grown),
    },
  ];
}

async function collected(engine: Engine, blobs: number, snapshots: number): Promise<Collected> {
  const c = clients(engine);
  let n = 0;
  const creates = async (until: () => boolean): Promise<number[]> => {
    const times: number[] = [];
    while (!until() || times.length < CREATES) {
      const id = `p14-${n++}`;
      const container = { id, runtime: { name: "io.containerd.runc.v2" }, spec: SPEC };
      times.push(await timed(() => c.containers.create({ container }, headers())));
      await c.containers.delete({ id }, headers());
      await delay(2);
    }
    return times;
  };
  const once = (): boolean => true;
  try {
    const lease = `gc-${randomBytes(4).toString("hex")}`;
    await c.leases.create({ id: lease }, headers());
    await many(blobs, MAKERS, async (i) => {
      const data = new TextEncoder().encode(`blob ${lease} ${i}`);
      const expected = `sha256:${createHash("sha256").update(data).digest("hex")}`;
      const total = BigInt(data.length);
      const ref = `${lease}-${i}`;
      const request = { action: WriteAction.COMMIT, ref, offset: 0n, data, total, expected };
      for await (const _ of c.content.write(one(request), headers(lease)));
    });
    await many(snapshots, MAKERS, (i) =>
      c.snapshots.prepare({ snapshotter: "native", key: `${lease}-${i}` }, headers(lease)),
    );
    const before = await creates(once);
    let done = false;
    const collecting = timed(() => c.leases.delete({ id: lease, sync: true }, headers())).finally(() => {
      done = true;
    });
    const busy = await creates(() => done);
    const seconds = (await collecting) / 1000;
    return { idle: [...before, ...(await creates(once))], busy, seconds };
  } finally {
    await c.transport.close();
  }
}

async function* one<T>(value: T): AsyncGenerator<T> {
  yield value;
}
