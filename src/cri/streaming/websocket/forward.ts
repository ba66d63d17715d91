import { type Forward, runForward } from "../forward.ts";
import { Budget, Inbox } from "../inbox.ts";
import type { StreamingLimits } from "../limits.ts";
import type { StreamingRuntime } from "../runtime.ts";
import type { ByteTransport } from "../transport.ts";
import { type ChannelFormat, Channels } from "./channels.ts";
import { WebSocketConnection } from "./connection.ts";

/** Protocols of port-forward over WebSocket channels; the empty name is a client that asks for none. */
export const WEBSOCKET_FORWARD_PROTOCOLS: ReadonlyMap<string, ChannelFormat> = new Map([
  ["v4.channel.k8s.io", { base64: false, closes: false }],
  ["v4.base64.channel.k8s.io", { base64: true, closes: false }],
  ["", { base64: false, closes: false }],
]);

/** SPDY carried by a WebSocket: what Kubernetes' newer port-forward clients ask for. */
export const TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io";

/**
 * Serves port-forward on an open WebSocket, and ends it: one connection for each port of the request, data on channel 2n and
 * errors on 2n + 1, each of which starts with the port (2 bytes, little endian).
 * @throws what the client broke
 */
export async function serveWebSocketForward(
  transport: ByteTransport,
  format: ChannelFormat,
  forward: Forward,
  runtime: StreamingRuntime,
  limits: StreamingLimits,
): Promise<void> {
  const socket = new WebSocketConnection(transport, limits);
  const channels = new Channels(socket, format);
  const budget = new Budget(limits.inboundBytes);
  const left = new AbortController();
  const signal = AbortSignal.any([transport.signal, left.signal]);
  const inboxes = forward.ports.map(() => new Inbox(budget));

  const reading = channels
    .read({
      async received(channel, bytes) {
        if (channel % 2 === 0) inboxes[channel / 2]?.push(bytes);
        await budget.room();
      },
      closed() {},
    })
    .then(
      () => undefined,
      (err: unknown) => ({ err }),
    )
    .finally(() => {
      left.abort();
      for (const inbox of inboxes) inbox.end();
    });
  void reading.then((end) => {
    if (end !== undefined) void transport.end();
  });

  try {
    for (const [i, port] of forward.ports.entries()) {
      const bytes = Uint8Array.of(port & 255, port >> 8);
      await channels.send(2 * i, bytes);
      await channels.send(2 * i + 1, bytes);
    }
    const all = forward.ports.map((port, i) => {
      const source = inboxes[i] ?? new Inbox(budget);
      const connection = { source, sink: channels.sink(2 * i), signal };
      return runForward(runtime, forward.podId, port, connection, channels.sink(2 * i + 1)).finally(() =>
        source.discard(),
      );
    });
    await Promise.all(all);
    await socket.end();
    const end = await reading;
    if (end !== undefined) throw end.err;
  } finally {
    transport.destroy();
  }
}
