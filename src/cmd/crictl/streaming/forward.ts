/** Connections into a pod: one at a time asks for a port and gets both directions and the error that ended it. */
import { canceled, isCanceled, messageOf, unavailable } from "../../../core/errors.ts";
import { Budget, Inbox } from "../../../cri/streaming/inbox.ts";
import type { ByteSink, ByteSource } from "../../../cri/streaming/runtime.ts";
import type { ByteTransport } from "../../../cri/streaming/transport.ts";
import { concatBytes, utf8Decode } from "../../../lib/bytes.ts";
import { connectSpdy, refused, type TransportName } from "./open.ts";
import { SpdyClient } from "./spdy.ts";
import { type StreamingTls, streamingUrl, UpgradeRefused } from "./upgrade.ts";
import { openWebSocket } from "./websocket.ts";

/** One forwarded connection. */
export interface PodConnection {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  /** What the engine says went wrong; empty when nothing did. Settles when the connection is over. */
  readonly error: Promise<string>;
  /** Sends and takes no more data; the engine then ends `error`. */
  finish(): Promise<void>;
  /** Drops it. */
  close(): Promise<void>;
}

/** A way into a pod. */
export interface PodForwarder {
  open(port: number): Promise<PodConnection>;
  /** Rejects when the way is lost; never resolves otherwise. */
  readonly lost: Promise<never>;
  end(): Promise<void>;
}

const PROTOCOL = "portforward.k8s.io";
const TUNNEL = `SPDY/3.1+${PROTOCOL}`;

/**
 * Connects.
 * @param urlOf asks the engine for a fresh URL for ports (undefined: all that were asked for): each works once
 * @throws unavailable
 */
export async function openForwarder(
  urlOf: (port?: number) => Promise<string>,
  transport: TransportName,
  tls: StreamingTls,
): Promise<PodForwarder> {
  try {
    if (transport === "spdy")
      return overSpdy((await connectSpdy(streamingUrl(await urlOf()), [PROTOCOL], tls)).client);
    try {
      return await overTunnel(streamingUrl(await urlOf()), tls);
    } catch (err) {
      if (!(err instanceof UpgradeRefused)) throw err;
      return overChannels(urlOf, tls);
    }
  } catch (err) {
    throw refused(err, transport);
  }
}

/** Two streams for each connection: data, and an error stream that we close at once in our direction. */
function overSpdy(client: SpdyClient): PodForwarder {
  let requests = 0;
  const gone = (): never => {
    throw unavailable("lost connection to pod");
  };
  const lost = client.done.then(gone, gone);
  lost.catch(() => {});
  return {
    lost,
    async open(port) {
      const headers = { port: String(port), requestid: String(requests++) };
      const errors = await client.open({ ...headers, streamtype: "error" });
      const data = await client.open({ ...headers, streamtype: "data" });
      await Promise.all([errors.accepted.promise, data.accepted.promise]);
      await errors.close();
      return {
        source: data.inbox,
        sink: data,
        error: readText(errors.inbox),
        finish: () => client.reset(data),
        async close() {
          await Promise.all([client.reset(data), client.reset(errors)]);
        },
      };
    },
    end: () => client.end(),
  };
}

async function readText(source: ByteSource): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part.slice());
  return utf8Decode(concatBytes(parts));
}

/** SPDY inside a WebSocket: what newer engines offer. */
async function overTunnel(url: URL, tls: StreamingTls): Promise<PodForwarder> {
  const socket = await openWebSocket(url, [TUNNEL], tls);
  if (socket.protocol !== TUNNEL) {
    await socket.end();
    throw new UpgradeRefused(400, "streaming server: does not tunnel SPDY");
  }
  const inner: ByteTransport = {
    signal: socket.transport.signal,
    read: () => socket.messages(),
    write: (chunk) => socket.send(chunk),
    reply: (chunk) => socket.send(chunk),
    end: () => socket.end(),
    destroy: () => socket.transport.destroy(),
  };
  return overSpdy(new SpdyClient(inner));
}

const CHANNEL_PROTOCOLS = ["v4.channel.k8s.io"];
const BUDGET = 1 << 20;

/** A WebSocket for each connection: data on channel 0, errors on 1, both begin with the port (2 bytes, little endian). */
function overChannels(urlOf: (port: number) => Promise<string>, tls: StreamingTls): PodForwarder {
  return {
    lost: new Promise<never>(() => {}),
    async open(port) {
      const url = streamingUrl(await urlOf(port));
      url.searchParams.set("port", String(port));
      const socket = await openWebSocket(url, CHANNEL_PROTOCOLS, tls).catch((err: unknown) => {
        throw refused(err, "websocket");
      });
      const budget = new Budget(BUDGET);
      const inboxes = [new Inbox(budget), new Inbox(budget)] as const;
      const started = [false, false];
      const pump = async (): Promise<void> => {
        for await (const message of socket.messages()) {
          const channel = message[0] === 0 ? 0 : 1;
          // the first message of each names the port again
          if (started[channel] === true) inboxes[channel].push(message.subarray(1));
          else started[channel] = true;
          await budget.room();
        }
      };
      void pump()
        .catch(() => {})
        .finally(() => {
          for (const inbox of inboxes) inbox.end();
        });
      return {
        source: inboxes[0],
        error: readText(inboxes[1]),
        sink: {
          async write(chunk) {
            for (let at = 0; at < chunk.length; at += 32 << 10)
              await socket.send(Uint8Array.of(0), chunk.subarray(at, at + (32 << 10)));
          },
          // this protocol cannot half-close
          async close() {},
        },
        finish: () => socket.end(),
        close: () => socket.end(),
      };
    },
    async end() {},
  };
}

/** How long the engine may take to say what went wrong. */
const ERROR_MS = 5_000;

/** Copies both ways until one side is done; then the other gets what is left. @returns the engine's error, or "" */
export async function join(
  local: { read(): AsyncIterable<Uint8Array>; write(chunk: Uint8Array): Promise<void>; end(): void },
  remote: PodConnection,
): Promise<string> {
  const upstream = (async () => {
    try {
      for await (const chunk of local.read()) await remote.sink.write(chunk);
      await remote.sink.close();
    } catch (err) {
      if (!isCanceled(err)) throw canceled(messageOf(err));
    }
  })();
  upstream.catch(() => {});
  try {
    for await (const chunk of remote.source) await local.write(chunk);
  } catch {
    // the local program left
  }
  local.end();
  await remote.finish();
  const late = setTimeout(() => void remote.close(), ERROR_MS);
  try {
    return await remote.error.catch(() => "");
  } finally {
    clearTimeout(late);
    await remote.close();
  }
}
