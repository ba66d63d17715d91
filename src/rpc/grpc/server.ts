import { background } from "../../core/call.ts";
import { canceled } from "../../core/errors.ts";
import { type ByteStream, peerOf } from "../../platform/net/byte-stream.ts";
import { Router } from "../dispatch.ts";
import { DEFAULT_LIMITS, type SessionLimits } from "../http2/limits.ts";
import { H2Session } from "../http2/session.ts";
import { type Listener, openListener } from "../listen.ts";
import type { ListenAddress, RpcServer, ServerOptions } from "../types.ts";
import { DEFAULT_MAX_MESSAGE } from "./framing.ts";
import { ServerCall, type ServerShared } from "./server-call.ts";

/** A gRPC server without sockets of its own: give it connections. */
export interface GrpcServer extends RpcServer {
  /** Serves a connected socket (tests, sockets accepted elsewhere). */
  serve(socket: ByteStream): void;
}

/**
 * Makes a gRPC server over our own HTTP/2. It may listen on several addresses.
 * @param http2 limits of each connection, for tests
 */
export function createGrpcServer(options: ServerOptions, http2: Partial<SessionLimits> = {}): GrpcServer {
  const { maxConcurrentStreams } = options.limits ?? {};
  const sessions = new Sessions(
    serverShared(options),
    maxConcurrentStreams === undefined ? http2 : { ...http2, maxConcurrentStreams },
  );
  const serve = (socket: ByteStream): void => sessions.add(socket);
  const listeners: Listener[] = [];
  const stopListening = async (): Promise<void> => {
    sessions.closing = true;
    await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  };
  const close = async (): Promise<void> => {
    await stopListening();
    sessions.close();
  };
  return {
    serve,
    async listen(address: ListenAddress) {
      const listener = await openListener(address, serve, ["h2"]);
      listeners.push(listener);
      return { port: listener.port };
    },
    async drain(graceMs) {
      await stopListening();
      await sessions.drain(graceMs);
      await close();
    },
    close,
    get load() {
      return sessions.load;
    },
  };
}

/** What the calls of a server share. The end of its own call cancels them. */
function serverShared({
  services,
  interceptors = [],
  limits,
  call: base = background,
}: ServerOptions): ServerShared {
  const running = new Set<ServerCall>();
  base.signal.addEventListener(
    "abort",
    () => {
      for (const call of [...running]) call.cancel(canceled("context canceled"));
    },
    { once: true },
  );
  return {
    router: new Router(services),
    interceptors,
    maxReceive: limits?.maxReceive ?? DEFAULT_MAX_MESSAGE,
    maxSend: limits?.maxSend ?? DEFAULT_MAX_MESSAGE,
    base,
    running,
  };
}

/** The connections of a server. */
class Sessions {
  /** Those that come from now on are refused. */
  closing = false;
  readonly #shared: ServerShared;
  readonly #limits: Partial<SessionLimits>;
  /**
   * Calls of one connection whose handlers have not returned. Those that were cancelled count, so that opening and resetting cannot
   * pile them up.
   */
  readonly #maxRunning: number;
  readonly #open = new Set<H2Session>();
  #idle: (() => void) | undefined;

  constructor(shared: ServerShared, limits: Partial<SessionLimits>) {
    this.#shared = shared;
    this.#limits = limits;
    this.#maxRunning = 4 * (limits.maxConcurrentStreams ?? DEFAULT_LIMITS.maxConcurrentStreams);
  }

  add(socket: ByteStream): void {
    if (this.closing) {
      socket.destroy();
      return;
    }
    if ("setNoDelay" in socket && typeof socket.setNoDelay === "function") socket.setNoDelay(true);
    const running = { count: 0, peer: peerOf(socket) };
    const session: H2Session = new H2Session(socket, {
      role: "server",
      limits: this.#limits,
      admit: () => running.count < this.#maxRunning,
      onStream: (stream) => {
        stream.events = new ServerCall(stream, this.#shared, running);
      },
      onClose: (error) => {
        this.#open.delete(session);
        if (error !== undefined) this.#shared.base.log.debug("grpc connection ended", { err: error });
        if (this.#open.size === 0) this.#idle?.();
      },
    });
    this.#open.add(session);
  }

  /** Says goodbye, and waits until the running calls have ended, at most `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#idle = () => {
        clearTimeout(timer);
        resolve();
      };
      for (const session of [...this.#open]) session.drain();
    });
  }

  close(): void {
    for (const session of [...this.#open]) session.close(canceled("server is stopping"));
  }

  get load(): { connections: number; calls: number } {
    return { connections: this.#open.size, calls: this.#shared.running.size };
  }
}
