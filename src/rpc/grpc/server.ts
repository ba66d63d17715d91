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
  const limits: Partial<SessionLimits> = {
    ...http2,
    ...(options.limits?.maxConcurrentStreams === undefined
      ? {}
      : { maxConcurrentStreams: options.limits.maxConcurrentStreams }),
  };
  const base = options.call ?? background;
  const shared: ServerShared = {
    router: new Router(options.services),
    interceptors: options.interceptors ?? [],
    maxReceive: options.limits?.maxReceive ?? DEFAULT_MAX_MESSAGE,
    maxSend: options.limits?.maxSend ?? DEFAULT_MAX_MESSAGE,
    base,
    running: new Set(),
  };
  const sessions = new Set<H2Session>();
  const listeners: Listener[] = [];
  let idle: (() => void) | undefined;
  let closing = false;
  // Calls that were cancelled count until their handlers return, so that opening and resetting cannot pile them up.
  const maxRunning = 4 * (limits.maxConcurrentStreams ?? DEFAULT_LIMITS.maxConcurrentStreams);

  base.signal.addEventListener(
    "abort",
    () => {
      for (const call of [...shared.running]) call.cancel(canceled("context canceled"));
    },
    { once: true },
  );

  const serve = (socket: ByteStream): void => {
    if (closing) {
      socket.destroy();
      return;
    }
    if ("setNoDelay" in socket && typeof socket.setNoDelay === "function") socket.setNoDelay(true);
    const running = { count: 0, peer: peerOf(socket) };
    const session: H2Session = new H2Session(socket, {
      role: "server",
      limits,
      admit: () => running.count < maxRunning,
      onStream: (stream) => {
        stream.events = new ServerCall(stream, shared, running);
      },
      onClose: (error) => {
        sessions.delete(session);
        if (error !== undefined) base.log.debug("grpc connection ended", { err: error });
        if (sessions.size === 0) idle?.();
      },
    });
    sessions.add(session);
  };

  const stopListening = async (): Promise<void> => {
    await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  };

  const close = async (): Promise<void> => {
    closing = true;
    await stopListening();
    for (const session of [...sessions]) session.close(canceled("server is stopping"));
  };

  return {
    serve,
    async listen(address: ListenAddress) {
      const listener = await openListener(address, serve, ["h2"]);
      listeners.push(listener);
      return { port: listener.port };
    },
    async drain(graceMs) {
      closing = true;
      await stopListening();
      if (sessions.size > 0) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, graceMs);
          idle = () => {
            clearTimeout(timer);
            resolve();
          };
          for (const session of [...sessions]) session.drain();
        });
      }
      await close();
    },
    close,
    get load() {
      return { connections: sessions.size, calls: shared.running.size };
    },
  };
}
