/** Streams of a remote process, whatever carries them. */
import { type GantryError, invalidArgument, messageOf, unavailable } from "../../../core/errors.ts";
import { Budget, Inbox } from "../../../cri/streaming/inbox.ts";
import type { ByteSink, ByteSource, TerminalSize } from "../../../cri/streaming/runtime.ts";
import { SocketTransport } from "../../../cri/streaming/transport.ts";
import { utf8Encode } from "../../../lib/bytes.ts";
import { SpdyClient } from "./spdy.ts";
import { type StreamingTls, streamingUrl, UpgradeRefused, upgrade } from "./upgrade.ts";
import { LIMITS, openWebSocket, type WebSocketClient } from "./websocket.ts";

/** How streams reach the engine. */
export type TransportName = "spdy" | "websocket";

/** Which streams there are. */
export interface StreamKinds {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** The other ends of a process's streams. */
export interface RemoteStreams {
  /** Kubernetes' channel protocol, 1 to 5: from 3 on there are terminal sizes, from 4 on exit codes. */
  readonly version: number;
  /** Close it to say that input ended (not possible on a WebSocket below version 5). */
  readonly stdin: ByteSink | undefined;
  readonly stdout: ByteSource | undefined;
  readonly stderr: ByteSource | undefined;
  /** How it ended. */
  readonly error: ByteSource;
  resize(size: TerminalSize): Promise<void>;
  end(): Promise<void>;
  destroy(): void;
}

const SPDY_PROTOCOLS = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const WEBSOCKET_PROTOCOLS = ["v5.channel.k8s.io", ...SPDY_PROTOCOLS];
const ACCEPT_MS = 30_000;

/** Connects to the URL of an exec or attach. @throws unavailable, with what the server said */
export async function openStreams(
  url: string,
  transport: TransportName,
  kinds: StreamKinds,
  tls: StreamingTls,
): Promise<RemoteStreams> {
  const target = streamingUrl(url);
  try {
    return transport === "spdy"
      ? await overSpdy(target, kinds, tls)
      : await overWebSocket(target, kinds, tls);
  } catch (err) {
    throw refused(err, transport);
  }
}

/** What an error of opening says to the user. */
export function refused(err: unknown, transport: TransportName): unknown {
  if (!(err instanceof UpgradeRefused)) return err;
  const other = transport === "spdy" ? "websocket" : "spdy";
  const hint =
    err.status >= 500 ? undefined : `this engine may not offer ${transport}: try --transport ${other}`;
  return unavailable(`unable to upgrade connection: ${err.message}`, {
    cause: err,
    ...(hint === undefined ? {} : { hint }),
  });
}

function versionOf(protocol: string): number {
  const version = /^v(\d)\./.exec(protocol)?.[1];
  return version === undefined ? 1 : Number(version);
}

/** Upgrades to SPDY. */
export async function connectSpdy(
  url: URL,
  protocols: readonly string[],
  tls: StreamingTls,
): Promise<{ client: SpdyClient; protocol: string }> {
  const { socket, head, headers } = await upgrade(
    url,
    "POST",
    [
      ["Connection", "Upgrade"],
      ["Upgrade", "SPDY/3.1"],
      ...protocols.map((name) => ["X-Stream-Protocol-Version", name] as const),
    ],
    tls,
  );
  const client = new SpdyClient(new SocketTransport(socket, head, LIMITS));
  return { client, protocol: headers.get("x-stream-protocol-version") ?? "" };
}

async function overSpdy(url: URL, kinds: StreamKinds, tls: StreamingTls): Promise<RemoteStreams> {
  const { client, protocol } = await connectSpdy(url, SPDY_PROTOCOLS, tls);
  const version = versionOf(protocol);
  try {
    const wanted = ["error", ...(["stdin", "stdout", "stderr"] as const).filter((kind) => kinds[kind])];
    if (kinds.tty && version >= 3) wanted.push("resize");
    const opened = new Map<string, Awaited<ReturnType<SpdyClient["open"]>>>();
    for (const streamtype of wanted) opened.set(streamtype, await client.open({ streamtype }));
    await within(ACCEPT_MS, Promise.all([...opened.values()].map((stream) => stream.accepted.promise)));
    const error = opened.get("error");
    if (error === undefined) throw unavailable("streaming server: no error stream");
    const resize = opened.get("resize");
    return {
      version,
      stdin: opened.get("stdin"),
      stdout: opened.get("stdout")?.inbox,
      stderr: opened.get("stderr")?.inbox,
      error: error.inbox,
      async resize(size) {
        await resize?.write(sizeMessage(size));
      },
      end: () => client.end(),
      destroy: () => client.destroy(),
    };
  } catch (err) {
    client.destroy();
    throw err;
  }
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(unavailable("streaming server: does not accept our streams")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const sizeMessage = ({ columns, rows }: TerminalSize): Uint8Array =>
  utf8Encode(`${JSON.stringify({ Width: columns, Height: rows })}\n`);

const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;
const BUDGET = 1 << 20;

async function overWebSocket(url: URL, kinds: StreamKinds, tls: StreamingTls): Promise<RemoteStreams> {
  const socket = await openWebSocket(url, WEBSOCKET_PROTOCOLS, tls);
  const version = versionOf(socket.protocol);
  const budget = new Budget(BUDGET);
  const inboxes = new Map<number, Inbox>();
  for (const kind of ["stdout", "stderr"] as const)
    if (kinds[kind]) inboxes.set(CHANNEL[kind], new Inbox(budget));
  const error = new Inbox(budget);
  inboxes.set(CHANNEL.error, error);
  void pump(socket, inboxes, budget)
    .catch((err: unknown) => error.push(utf8Encode(messageOf(err))))
    .finally(() => {
      for (const inbox of inboxes.values()) inbox.end();
    });
  return {
    version,
    stdin: kinds.stdin ? channelSink(socket, version) : undefined,
    stdout: inboxes.get(CHANNEL.stdout),
    stderr: inboxes.get(CHANNEL.stderr),
    error,
    async resize(size) {
      if (kinds.tty && version >= 3) await socket.send(Uint8Array.of(CHANNEL.resize), sizeMessage(size));
    },
    end: () => socket.end(),
    destroy: () => socket.transport.destroy(),
  };
}

async function pump(
  socket: WebSocketClient,
  inboxes: ReadonlyMap<number, Inbox>,
  budget: Budget,
): Promise<void> {
  for await (const message of socket.messages()) {
    const [channel, closed] = message;
    if (channel === CHANNEL.close) inboxes.get(closed ?? -1)?.end();
    else if (channel !== undefined) inboxes.get(channel)?.push(message.subarray(1));
    await budget.room();
  }
}

const MAX_MESSAGE = 32 << 10;

function channelSink(socket: WebSocketClient, version: number): ByteSink {
  return {
    async write(chunk) {
      for (let at = 0; at < chunk.length; at += MAX_MESSAGE)
        await socket.send(Uint8Array.of(CHANNEL.stdin), chunk.subarray(at, at + MAX_MESSAGE));
    },
    async close() {
      if (version >= 5) await socket.send(Uint8Array.of(CHANNEL.close, CHANNEL.stdin)).catch(() => {});
    },
  };
}

/** @throws invalid-argument */
export function transportName(text: string): TransportName {
  if (text === "" || text === "spdy") return "spdy";
  if (text === "websocket") return "websocket";
  throw badTransport(text);
}

const badTransport = (text: string): GantryError =>
  invalidArgument(`unknown transport "${text}"`, { hint: "use --transport spdy or --transport websocket" });
