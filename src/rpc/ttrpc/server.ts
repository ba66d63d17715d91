import { background } from "../../core/call.ts";
import { canceled, invalidArgument, resourceExhausted, unavailable } from "../../core/errors.ts";
import { type ByteStream, peerOf } from "../../platform/net/byte-stream.ts";
import { Router } from "../dispatch.ts";
import { type Listener, openListener } from "../listen.ts";
import { toStatus } from "../status.ts";
import type { HandlerContext, RpcServer, ServerOptions } from "../types.ts";
import { TtrpcConnection } from "./connection.ts";
import { MessageType } from "./frames.ts";
import { encodeErrorResponse } from "./messages.ts";
import { TtrpcServerCall, type TtrpcShared } from "./server-call.ts";

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
  const connections = new Set<TtrpcConnection>();
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
    const calls = new Map<number, TtrpcServerCall>();
    let last = 0;
    const refuse = (id: number, err: unknown): void => {
      connection.send(MessageType.RESPONSE, 0, id, encodeErrorResponse(toStatus(err)));
    };
    const refusal = (id: number): Error | undefined => {
      if ((id & 1) === 0) return invalidArgument("StreamID must be odd for client initiated streams");
      if (id <= last) return invalidArgument("StreamID cannot be re-used and must increment");
      last = id;
      if (closing) return unavailable("server is stopping");
      return calls.size < maxStreams ? undefined : resourceExhausted(`more than ${maxStreams} streams`);
    };
    const begin = (flags: number, id: number, data: Uint8Array): void => {
      const reason = refusal(id);
      if (reason !== undefined) {
        refuse(id, reason);
        return;
      }
      const call = new TtrpcServerCall(id, connection, shared, () => calls.delete(id));
      calls.set(id, call);
      call.start(flags, data, peer);
    };
    const connection: TtrpcConnection = new TtrpcConnection(
      socket,
      {
        frame(type, flags, id, data) {
          if (type === MessageType.REQUEST) begin(flags, id, data);
          else if (type === MessageType.DATA) calls.get(id)?.data(flags, data);
          // Anything else is for a later version of the protocol.
        },
        oversized(type, _flags, id, error) {
          const running = calls.get(id);
          if (running !== undefined) running.cancel(error);
          else if (type === MessageType.REQUEST) {
            last = Math.max(last, id);
            refuse(id, error);
          }
        },
      },
      () => {
        connections.delete(connection);
        for (const call of [...calls.values()]) call.lost();
      },
    );
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
