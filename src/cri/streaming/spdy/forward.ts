import { type Forward, parsePort, runForward } from "../forward.ts";
import type { StreamingLimits } from "../limits.ts";
import type { StreamingRuntime } from "../runtime.ts";
import type { ByteTransport } from "../transport.ts";
import { SpdyConnection, type SpdyStream } from "./connection.ts";

/** The one protocol of port-forward over SPDY. */
export const FORWARD_PROTOCOL = "portforward.k8s.io";

/** The streams of one forwarded connection; the second completes it. */
interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/**
 * Serves port-forward: each connection is a pair of streams, `streamtype` "error" and "data", with the same `requestid` and
 * `port`. Pairs come and go until the client closes.
 * @throws what the client broke
 */
export async function serveSpdyForward(
  transport: ByteTransport,
  forward: Forward,
  runtime: StreamingRuntime,
  limits: StreamingLimits,
): Promise<void> {
  const pairs = new Map<string, Pair>();
  const running = new Set<Promise<void>>();

  const connection = new SpdyConnection(transport, { opened }, limits);
  try {
    await connection.run();
    await connection.end();
  } finally {
    transport.destroy();
    for (const { timer } of pairs.values()) clearTimeout(timer);
    await Promise.all(running);
  }

  function opened(stream: SpdyStream): boolean {
    const kind = stream.headers.get("streamtype");
    const port = parsePort(stream.headers.get("port") ?? "");
    if ((kind !== "data" && kind !== "error") || port === undefined) return false;
    const id = requestId(stream, kind);
    const pair = pairs.get(id) ?? { timer: setTimeout(() => drop(id), limits.streamCreationMs) };
    if (pair[kind] !== undefined) return false;
    pair[kind] = stream;
    pairs.set(id, pair);
    const { data, error } = pair;
    if (data === undefined || error === undefined) return true;
    clearTimeout(pair.timer);
    // A connection that the client gave up before it started is not worth reaching the port for.
    const work = start(data, error, port).finally(() => {
      pairs.delete(id);
      running.delete(work);
      connection.forget(data);
      connection.forget(error);
    });
    running.add(work);
    return true;
  }

  async function start(data: SpdyStream, error: SpdyStream, port: number): Promise<void> {
    const connection = { source: data.source, sink: data, signal: data.signal };
    await runForward(runtime, forward.podId, port, connection, error);
  }

  /** The second stream never came. */
  function drop(id: string): void {
    const pair = pairs.get(id);
    pairs.delete(id);
    for (const stream of [pair?.data, pair?.error]) {
      if (stream !== undefined) connection.refuse(stream).catch(() => transport.destroy());
    }
  }
}

/** Old clients send no request id: their data stream follows the error stream. */
function requestId(stream: SpdyStream, kind: "data" | "error"): string {
  return stream.headers.get("requestid") ?? `stream ${kind === "error" ? stream.id : stream.id - 2}`;
}
