/**
 * The two ends of ttrpc that a shim needs: unary methods served from tables, and unary calls to the daemon. Framing is that
 * of src/rpc/ttrpc; the full server and client there are driven by descriptors, which a shim does not load.
 */
import { type GantryError, notImplemented, unavailable } from "../../src/core/errors.ts";
import { adoptStream, type ByteStream } from "../../src/platform/net/byte-stream.ts";
import { openSocket } from "../../src/rpc/connect.ts";
import { adoptListenerAt, type Listener, openListener } from "../../src/rpc/listen.ts";
import { fromStatus, toStatus } from "../../src/rpc/status.ts";
import { TtrpcConnection } from "../../src/rpc/ttrpc/connection.ts";
import { MessageType as Frame } from "../../src/rpc/ttrpc/frames.ts";
import {
  decodeRequest,
  decodeResponse,
  encodeErrorResponse,
  encodeRequest,
  encodeResponse,
} from "../../src/rpc/ttrpc/messages.ts";
import { touch } from "./activity.ts";
import { Awake, type Kept } from "./rest.ts";
import { decode, encode, type Fields, type Message, type MessageInit, type MessageType } from "./wire.ts";

/** A unary method: bytes in, bytes out. `namespace` is the caller's, "" when it named none. */
export type Method = (payload: Uint8Array, namespace: string) => Promise<Uint8Array>;

/** Makes a method from its message types and a handler. */
export function method<I extends Fields, O extends Fields>(
  input: MessageType<I>,
  output: MessageType<O>,
  handler: (request: Message<I>, namespace: string) => Promise<MessageInit<O>> | MessageInit<O>,
): Method {
  return async (payload, namespace) => encode(output, await handler(decode(input, payload), namespace));
}

/** Metadata key of the caller's namespace. */
const NAMESPACE_HEADER = "containerd-namespace-ttrpc";

/** A server of methods by `package.Service/Method`. */
export interface MethodServer {
  /** @throws already-exists when another process serves the path */
  listen(path: string): Promise<void>;
  readonly connections: number;
  /**
   * Its state for the shim's sleep: the open sockets, and the calls that only wait for something and can be asked again.
   * @throws Awake while another call runs, or anything is half sent or half read
   */
  rest(kept: Kept): ServerState;
  /** Goes on from there, at the same path. */
  adopt(path: string, state: ServerState): Promise<void>;
  /** Gives the address up: nobody connects any more, open connections go on. */
  stopListening(): Promise<void>;
  /** Stops accepting, waits until running calls are answered, at most `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** See {@link MethodServer.rest}. */
export interface ServerState {
  readonly listener: number;
  readonly connections: readonly {
    readonly fd: number;
    readonly waiting: readonly { readonly id: number; readonly request: Uint8Array }[];
  }[];
}

/** Calls that change nothing and are answered when something ends: `Wait`, `WaitSandbox`. */
const WAITS = /^Wait(?:Sandbox)?$/;

/** @param onCall told of every call when it was answered. @param onAlone told that the last client is gone */
export function createMethodServer(
  methods: ReadonlyMap<string, Method>,
  onCall: () => void = () => {},
  onAlone: () => void = () => {},
): MethodServer {
  /** Each with its calls that wait, by stream. */
  const open = new Map<TtrpcConnection, Map<number, Uint8Array>>();
  let listener: Listener | undefined;
  let running = 0;
  let waiting = 0;
  let idle: (() => void) | undefined;

  const answer = async (connection: TtrpcConnection, id: number, data: Uint8Array): Promise<void> => {
    running++;
    touch();
    let waits = false;
    try {
      const { service, method: name, payload, metadata } = decodeRequest(data);
      waits = WAITS.test(name);
      if (waits) {
        waiting++;
        open.get(connection)?.set(id, data);
      }
      const found = methods.get(`${service}/${name}`);
      if (found === undefined) throw notImplemented(`unknown method ${name} for service ${service}`);
      const bytes = await found(payload, metadata.get(NAMESPACE_HEADER)?.[0] ?? "");
      connection.send(Frame.RESPONSE, 0, id, encodeResponse({ parts: [bytes], length: bytes.length }));
    } catch (error) {
      connection.send(Frame.RESPONSE, 0, id, encodeErrorResponse(toStatus(error)));
    } finally {
      running--;
      if (waits) {
        waiting--;
        open.get(connection)?.delete(id);
      }
      touch();
      onCall();
      if (running === 0) idle?.();
    }
  };

  const serve = (socket: ByteStream): TtrpcConnection => {
    touch();
    const connection: TtrpcConnection = new TtrpcConnection(
      socket,
      {
        frame(type, _flags, id, data) {
          // Data frames belong to streams, which no method here has.
          if (type === Frame.REQUEST) void answer(connection, id, data);
        },
        oversized(type, _flags, id, error) {
          if (type === Frame.REQUEST)
            connection.send(Frame.RESPONSE, 0, id, encodeErrorResponse(toStatus(error)));
        },
      },
      () => {
        open.delete(connection);
        if (open.size === 0) onAlone();
      },
    );
    open.set(connection, new Map());
    return connection;
  };

  return {
    async listen(path) {
      listener = await openListener({ path, mode: 0o600 }, serve);
    },
    rest(kept) {
      const fd = listener?.fd;
      if (fd === undefined) throw new Awake("not listening");
      if (running > waiting) throw new Awake("calls under way");
      return {
        listener: kept.watch(fd),
        connections: [...open].map(([connection, calls]) => {
          const { restingFd } = connection;
          if (restingFd === undefined) throw new Awake("connection under way");
          return {
            fd: kept.watchConnection(restingFd),
            waiting: [...calls].map(([id, request]) => ({ id, request: new Uint8Array(request) })),
          };
        }),
      };
    },
    async adopt(path, state) {
      listener = adoptListenerAt(path, state.listener, serve);
      for (const { fd, waiting: calls } of state.connections) {
        // one that ended meanwhile says so in its own time
        const connection = serve(await adoptStream(fd));
        for (const { id, request } of calls) void answer(connection, id, request);
      }
    },
    get connections() {
      return open.size;
    },
    async stopListening() {
      await listener?.close();
      listener = undefined;
    },
    async close(graceMs) {
      await listener?.close();
      if (running > 0) {
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((resolve) => {
          idle = resolve;
          timer = setTimeout(resolve, graceMs);
        });
        clearTimeout(timer);
      }
      for (const connection of [...open.keys()]) connection.close();
    },
  };
}

/** Calls one method of one peer, connecting when there is no connection. One call at a time. */
export interface MethodClient<I extends Fields> {
  call(request: MessageInit<I>): Promise<void>;
  close(): void;
}

/** A client of a method whose answer has no content. @param timeoutMs for connecting and for the answer, each */
export function createMethodClient<I extends Fields>(
  path: string,
  service: string,
  name: string,
  input: MessageType<I>,
  timeoutMs: number,
): MethodClient<I> {
  let connection: TtrpcConnection | undefined;
  let nextId = 1;
  let waiting: { id: number; settle: (error: GantryError | undefined) => void } | undefined;
  const settle = (id: number | undefined, error: GantryError | undefined): void => {
    if (waiting === undefined || (id !== undefined && waiting.id !== id)) return;
    const { settle: done } = waiting;
    waiting = undefined;
    done(error);
  };
  const connect = async (): Promise<TtrpcConnection> => {
    const socket = await openSocket({ path }, timeoutMs);
    nextId = 1;
    const made: TtrpcConnection = new TtrpcConnection(
      socket,
      {
        frame(type, _flags, id, data) {
          if (type !== Frame.RESPONSE) return;
          const { status } = decodeResponse(data);
          settle(
            id,
            status === undefined || status.code === 0
              ? undefined
              : fromStatus(status.code, status.message, status.details),
          );
        },
        oversized: (_type, _flags, id) => settle(id, undefined),
      },
      () => {
        if (connection === made) connection = undefined;
        settle(undefined, unavailable(`call to "${path}": ttrpc: closed`));
      },
    );
    return made;
  };
  return {
    async call(request) {
      connection ??= await connect();
      const id = nextId;
      nextId += 2;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      waiting = { id, settle: (error) => (error === undefined ? resolve() : reject(error)) };
      const timer = setTimeout(() => {
        settle(id, unavailable(`call to "${path}": no answer in time`));
        connection?.destroy(undefined);
      }, timeoutMs);
      const payload = encode(input, request);
      const wire = encodeRequest({
        service,
        method: name,
        timeoutNano: BigInt(timeoutMs) * 1_000_000n,
        metadata: new Map(),
        payload: { parts: [payload], length: payload.length },
      });
      connection.send(Frame.REQUEST, 0, id, wire);
      try {
        await promise;
      } finally {
        clearTimeout(timer);
      }
    },
    close: () => connection?.close(),
  };
}
