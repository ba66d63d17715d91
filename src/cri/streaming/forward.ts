import { messageOf } from "../../core/errors.ts";
import { utf8Encode } from "../../lib/bytes.ts";
import type { ByteSink, ForwardedConnection, StreamingRuntime } from "./runtime.ts";

/** A port-forward that waits for its client, or is being served. */
export interface Forward {
  readonly kind: "port-forward";
  readonly podId: string;
  /** Ports of the request; clients over SPDY name a port with each connection instead. */
  readonly ports: readonly number[];
}

/** Forwards one connection, tells the client what went wrong, and closes both streams. Never throws. */
export async function runForward(
  runtime: StreamingRuntime,
  podId: string,
  port: number,
  connection: ForwardedConnection,
  error: ByteSink,
): Promise<void> {
  try {
    await runtime.portForward(podId, port, connection);
  } catch (err) {
    // Whoever dropped the connection needs no reason.
    if (connection.signal.aborted) return;
    const text = `error forwarding port ${port} to pod ${podId}, uid : ${messageOf(err)}`;
    await error.write(utf8Encode(text)).catch(() => {});
  } finally {
    await connection.sink.close();
    await error.close();
  }
}

/** A TCP port, or undefined. */
export function parsePort(text: string): number | undefined {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}
