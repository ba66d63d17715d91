import { background } from "../../core/call.ts";
import { canceled } from "../../core/errors.ts";
import { type ByteStream, peerOf } from "../../platform/net/byte-stream.ts";
import { Router } from "../dispatch.ts";
import { type Listener, openListener } from "../listen.ts";
import type { HandlerContext, RpcServer, ServerOptions } from "../types.ts";
import { ServedConnection } from "./served-connection.ts";
import type { TtrpcShared } from "./server-call.ts";

/** A ttrpc server that also serves connections made elsewhere. */
export interface TtrpcServer extends RpcServer {
  /** Serves a connected stream (a socket inherited or passed by descriptor, a multiplexed channel). */
  serve(socket: ByteStream, peer?: HandlerContext["peer"]): void;
}

const DEFAULT_MAX_STREAMS = 4096;

/** Makes a ttrpc server. Messages are limited to 4 MiB by the protocol; `limits.maxReceive` does not change that. */
export function createTtrpcServer(options: ServerOptions): TtrpcServer {
  const base = options.call ?? background;
  const shared: TtrpcShared = {
    router: new Router(options.services),
    interceptors: options.interceptors ?? [],
    base,
    running: new Set(),
    returned() {
      if (shared.running.size === 0) idle?.();
    },
  };
  const maxStreams = options.limits?.maxConcurrentStreams ?? DEFAULT_MAX_STREAMS;
  const connections = new Set<ServedConnection>();
  const listeners: Listener[] = [];
  let closing = false;
  let idle: (() => void) | undefined;

  base.signal.addEventListener(
    "abort",
    () => {
      for (const call of [...shared.running]) call.cancel(canceled("context canceled"));
    },
    { once: true },
  );

  const serve = (socket: ByteStream, peer?: HandlerContext["peer"]): void => {
    const connection = new ServedConnection(socket, {
      shared,
      maxStreams,
      peer,
      isClosing: () => closing,
      onClose: (ended) => connections.delete(ended),
    });
    connections.add(connection);
  };

  const stopListening = async (): Promise<void> => {
    closing = true;
    await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  };
  const close = async (): Promise<void> => {
    await stopListening();
    for (const connection of [...connections]) connection.close();
  };

  return {
    serve,
    async listen(address) {
      const listener = await openListener(address, (socket) => serve(socket, peerOf(socket)));
      listeners.push(listener);
      return { port: listener.port };
    },
    async drain(graceMs) {
      await stopListening();
      if (shared.running.size > 0)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, graceMs);
          idle = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      await close();
    },
    close,
    get load() {
      return { connections: connections.size, calls: shared.running.size };
    },
  };
}
