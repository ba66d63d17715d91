import { Buffer } from "node:buffer";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { failedPrecondition, invalidArgument, wrap } from "../../core/errors.ts";
import { type Logger, noLog } from "../../core/log.ts";
import type { Command } from "./command.ts";
import type { Forward } from "./forward.ts";
import { acceptUpgrade, negotiate, type Refusal, refuse, refuseUpgrade, type Upgrade } from "./handshake.ts";
import { DEFAULT_LIMITS, type StreamingLimits } from "./limits.ts";
import type { AttachRequest, ExecRequest, StreamingRuntime } from "./runtime.ts";
import { serveSpdyCommand } from "./spdy/command.ts";
import { serveSpdyForward } from "./spdy/forward.ts";
import { TokenStore } from "./tokens.ts";
import { type ByteTransport, SocketTransport } from "./transport.ts";
import { serveWebSocketCommand, WEBSOCKET_COMMAND_PROTOCOLS } from "./websocket/command.ts";
import { tunnel, WebSocketConnection } from "./websocket/connection.ts";
import { serveWebSocketForward, TUNNEL_PROTOCOL, WEBSOCKET_FORWARD_PROTOCOLS } from "./websocket/forward.ts";

/** How to serve. */
export interface StreamingServerOptions {
  /** Address to listen on; loopback by default. */
  readonly host?: string;
  /** 0, the default, takes a free port. */
  readonly port?: number;
  /** PEM texts; the server then speaks TLS. */
  readonly tls?: { readonly cert: string | Uint8Array; readonly key: string | Uint8Array };
  readonly limits?: Partial<StreamingLimits>;
  readonly log?: Logger;
}

/** Ports of a pod that a client wants to reach. */
export interface PortForwardRequest {
  readonly podId: string;
  readonly ports: readonly number[];
}

/** The CRI streaming server: gives out URLs, each good for one connection within a minute, and serves them. */
export interface StreamingServer {
  /**
   * URL for one exec.
   * @throws invalid-argument, resource-exhausted (too many not yet used), failed-precondition (not listening)
   */
  getExec(request: ExecRequest): string;
  /** URL for one attach. Throws as {@link StreamingServer.getExec}. */
  getAttach(request: AttachRequest): string;
  /** URL for one port-forward connection. Throws as {@link StreamingServer.getExec}. */
  getPortForward(request: PortForwardRequest): string;
  /** Starts to listen. @returns the base URL */
  listen(): Promise<string>;
  /** Stops listening, drops all connections and waits for their sessions. */
  close(): Promise<void>;
  /** Connections served now. */
  readonly connections: number;
}

type Pending = Command | Forward;

const PATH = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]{22})$/;
const NO_SUCH_PAGE = refuse(404, "404 page not found");
const SEGMENT = { exec: "exec", attach: "attach", "port-forward": "portforward" } as const;

/** Makes a server that runs sessions with `runtime`; {@link StreamingServer.listen} starts it. */
export function createStreamingServer(
  runtime: StreamingRuntime,
  options: StreamingServerOptions = {},
): StreamingServer {
  const limits: StreamingLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const log = options.log ?? noLog;
  const tokens = new TokenStore<Pending>(limits.tokenLifeMs, limits.tokens);
  const transports = new Set<ByteTransport>();
  const sessions = new Set<Promise<void>>();
  const upgrades = new WeakSet<Duplex>();
  const scheme = options.tls === undefined ? "http" : "https";
  const settings = {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.headersMs,
    keepAliveTimeout: 1,
  };
  const server: Server =
    options.tls === undefined
      ? createHttpServer(settings, answer)
      : createHttpsServer(
          { ...settings, handshakeTimeout: limits.headersMs, ...tlsFiles(options.tls) },
          answer,
        );
  server.on("upgrade", upgraded);
  server.on(options.tls === undefined ? "connection" : "secureConnection", asked);
  server.maxConnections = limits.connections * 2;
  let base: string | undefined;

  function give(pending: Pending): string {
    if (base === undefined) throw failedPrecondition("streaming server: not listening");
    return `${base}/${SEGMENT[pending.kind]}/${tokens.add(pending)}`;
  }

  /** Drops a connection that asks for nothing in time: the runtimes' own timeouts do not come. */
  function asked(socket: Duplex): void {
    const timer = setTimeout(() => !upgrades.has(socket) && socket.destroy(), limits.headersMs);
    socket.once("close", () => clearTimeout(timer));
  }

  function upgraded(request: IncomingMessage, socket: Duplex, head: Uint8Array): void {
    const found = find(request.url);
    const agreed = agree(request, found?.pending);
    if (found === undefined || agreed.kind === "refused") {
      refuseUpgrade(socket, agreed.kind === "refused" ? agreed : NO_SUCH_PAGE);
      return;
    }
    // Used up only now: a client that tries another protocol after a refusal may do so.
    tokens.take(found.token);
    upgrades.add(socket);
    acceptUpgrade(socket, agreed);
    const transport = new SocketTransport(socket, head, limits);
    transports.add(transport);
    const session = serve(transport, agreed, found.pending, runtime, limits)
      .catch((err) => log.debug("streaming session ended", { kind: found.pending.kind, err }))
      .finally(() => {
        transport.destroy();
        transports.delete(transport);
        sessions.delete(session);
      });
    sessions.add(session);
  }

  function agree(request: IncomingMessage, pending: Pending | undefined): Upgrade | Refusal {
    if (pending === undefined) return NO_SUCH_PAGE;
    if (transports.size >= limits.connections) return refuse(503, "too many streaming connections");
    return negotiate(request, pending.kind === "port-forward" ? "forward" : "command");
  }

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const known = find(request.url) !== undefined;
    response.writeHead(known ? 400 : 404, {
      "Content-Type": "text/plain; charset=utf-8",
      Connection: "close",
    });
    response.end(known ? "unable to upgrade: missing upgrade headers in request\n" : "404 page not found\n");
  }

  /** The request that a URL's path stands for; the path must be of the request's kind. */
  function find(url: string | undefined): { pending: Pending; token: string } | undefined {
    const [, segment, token = ""] = PATH.exec((url ?? "").split("?", 1)[0] ?? "") ?? [];
    const pending = tokens.peek(token);
    return pending !== undefined && SEGMENT[pending.kind] === segment ? { pending, token } : undefined;
  }

  return {
    getExec(request) {
      checkStreams(request);
      return give({ kind: "exec", request });
    },
    getAttach(request) {
      checkStreams(request);
      return give({ kind: "attach", request });
    },
    getPortForward(request) {
      if (request.podId === "") throw invalidArgument("missing required pod_sandbox_id");
      for (const port of request.ports) {
        if (!(Number.isInteger(port) && port >= 1 && port <= 65_535)) {
          throw invalidArgument(`forward port ${port}: out of range`);
        }
      }
      return give({ kind: "port-forward", ...request });
    },
    async listen() {
      const host = options.host ?? "127.0.0.1";
      await new Promise<void>((resolve, reject) => {
        server.once("error", (err) => reject(wrap(err, `listen on "${host}" for streaming`)));
        server.listen(options.port ?? 0, host, resolve);
      });
      const { port } = server.address() as AddressInfo;
      base = `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
      return base;
    },
    async close() {
      base = undefined;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections?.();
      for (const transport of transports) transport.destroy();
      await Promise.all(sessions);
      await closed;
    },
    get connections() {
      return transports.size;
    },
  };
}

/** Serves one upgraded connection to its end. Throws what the client broke. */
async function serve(
  transport: ByteTransport,
  upgrade: Upgrade,
  pending: Pending,
  runtime: StreamingRuntime,
  limits: StreamingLimits,
): Promise<void> {
  const { protocol } = upgrade;
  if (upgrade.kind === "spdy") {
    if (pending.kind === "port-forward") return serveSpdyForward(transport, pending, runtime, limits);
    return serveSpdyCommand(transport, protocol, pending, runtime, limits);
  }
  if (pending.kind === "port-forward") {
    if (protocol === TUNNEL_PROTOCOL) {
      const inner = tunnel(new WebSocketConnection(transport, limits), transport);
      return serveSpdyForward(inner, pending, runtime, limits);
    }
    const format = WEBSOCKET_FORWARD_PROTOCOLS.get(protocol);
    if (format !== undefined) return serveWebSocketForward(transport, format, pending, runtime, limits);
  } else {
    const format = WEBSOCKET_COMMAND_PROTOCOLS.get(protocol);
    if (format !== undefined) return serveWebSocketCommand(transport, format, pending, runtime, limits);
  }
  throw invalidArgument(`serve streaming protocol "${protocol}": unknown`);
}

/** The rules and words of containerd for exec and attach. */
function checkStreams(request: AttachRequest): void {
  if (request.containerId === "") throw invalidArgument("missing required container_id");
  if (request.tty && request.stderr) throw invalidArgument("tty and stderr cannot both be true");
  if (!request.stdin && !request.stdout && !request.stderr) {
    throw invalidArgument("one of stdin, stdout, or stderr must be set");
  }
}

function tlsFiles(tls: { readonly cert: string | Uint8Array; readonly key: string | Uint8Array }): {
  cert: string | Buffer;
  key: string | Buffer;
} {
  const pem = (text: string | Uint8Array): string | Buffer =>
    typeof text === "string" ? text : Buffer.from(text);
  return { cert: pem(tls.cert), key: pem(tls.key) };
}
