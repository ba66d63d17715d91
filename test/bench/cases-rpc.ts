/** P10: calls per second, and content through the API. Our own client drives both daemons, so it limits both alike. */
import { createHash } from "node:crypto";
import { Content, WriteAction } from "../../src/api/gen/containerd/services/content/v1/content_pb.ts";
import { Version } from "../../src/api/gen/containerd/services/version/v1/version_pb.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Transport } from "../../src/rpc/types.ts";
import type { Bench, Engine } from "./engine.ts";
import { interleave, type Row, timed } from "./measure.ts";

const CALLS = 2_000;
const BLOB = 256 << 20;
const CHUNK = 1 << 20;
/** A lease keeps the blobs, which nothing else refers to, from being collected. */
const LEASE = "bench";
const HEADERS = {
  headers: new Map([
    ["containerd-namespace", ["default"]],
    ["containerd-lease", [LEASE]],
  ]),
};

async function connected<T>(engine: Engine, work: (transport: Transport) => Promise<T>): Promise<T> {
  await using transport = createGrpcTransport({ path: engine.daemon.address });
  return await work(transport);
}

/** Unary calls per second with `width` in flight. */
function calls(width: number): (engine: Engine) => () => Promise<number> {
  return (engine) => () =>
    connected(engine, async (transport) => {
      const client = createClient(Version, transport);
      await client.version({});
      let left = CALLS;
      const worker = async (): Promise<void> => {
        while (left-- > 0) await client.version({});
      };
      const took = await timed(() => Promise.all(Array.from({ length: width }, worker)));
      return CALLS / (took / 1000);
    });
}

let round = 0;

/** Writes a blob that is new each time; returns MB/s and leaves its digest for the read. */
async function write(engine: Engine, digests: Map<Engine, string>): Promise<number> {
  return connected(engine, async (transport) => {
    const data = Buffer.alloc(BLOB, `bench ${process.pid} ${round++} `);
    const digest = `sha256:${createHash("sha256").update(data).digest("hex")}`;
    const client = createClient(Content, transport);
    const ref = `bench-${round}`;
    async function* requests() {
      const total = BigInt(BLOB);
      for (let at = 0; at < BLOB; at += CHUNK) {
        const part = new Uint8Array(data.subarray(at, at + CHUNK));
        yield { action: WriteAction.WRITE, ref, offset: BigInt(at), data: part, total };
      }
      yield { action: WriteAction.COMMIT, ref, offset: BigInt(BLOB), total, expected: digest };
    }
    const took = await timed(async () => {
      for await (const _ of client.write(requests(), HEADERS));
    });
    const before = digests.get(engine);
    digests.set(engine, digest);
    if (before !== undefined) await client.delete({ digest: before }, HEADERS);
    return BLOB / 1e6 / (took / 1000);
  });
}

async function read(engine: Engine, digests: Map<Engine, string>): Promise<number> {
  return connected(engine, async (transport) => {
    const client = createClient(Content, transport);
    let got = 0;
    const request = { digest: digests.get(engine) ?? "", offset: 0n, size: 0n };
    const took = await timed(async () => {
      for await (const part of client.read(request, HEADERS)) got += part.data.length;
    });
    if (got !== BLOB) throw new Error(`read content: ${got} of ${BLOB} bytes`);
    return BLOB / 1e6 / (took / 1000);
  });
}

/** All of P10. */
export async function rpc(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [width, goal] of [
    [1, 1.3],
    [32, 1.3],
  ] as const) {
    const once = calls(width);
    const found = await interleave(bench.few, { ours: once(bench.ours), reference: once(bench.reference) });
    rows.push({ id: "P10", what: `unary calls, ${width} at a time`, unit: "/s", ...found, goal });
  }
  const digests = new Map<Engine, string>();
  for (const engine of [bench.ours, bench.reference]) engine.ctr("leases", "create", "--id", LEASE);
  const writes = await interleave(bench.few, {
    ours: () => write(bench.ours, digests),
    reference: () => write(bench.reference, digests),
  });
  const reads = await interleave(bench.few, {
    ours: () => read(bench.ours, digests),
    reference: () => read(bench.reference, digests),
  });
  for (const engine of [bench.ours, bench.reference]) engine.ctr("leases", "delete", "--sync", LEASE);
  rows.push({ id: "P10", what: "content read, 256 MiB", unit: "MB/s", ...reads, goal: 1 });
  rows.push({ id: "P10", what: "content write, 256 MiB", unit: "MB/s", ...writes, goal: 1.3 });
  return rows;
}
