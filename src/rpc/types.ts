/**
 * The RPC waist: services are written against these types once and served over gRPC and ttrpc alike; clients call
 * through {@link Transport}, two methods wide. Everything is driven by protobuf-es service descriptors.
 */
import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Call } from "../core/call.ts";
import type { Span } from "../core/tracing/span.ts";

/** Metadata of a call: lower-case keys; values in order. `-bin` values are base64 without padding on the wire, bytes as latin1 never appear here. */
export type Headers = ReadonlyMap<string, readonly string[]>;

/** What a handler knows of its call besides the message. */
export interface HandlerContext {
  /** Identity, deadline, cancellation, logger. The namespace is set when the header was sent and valid. */
  readonly call: Call;
  readonly headers: Headers;
  /** First value of a header. */
  header(name: string): string | undefined;
  /** Sets a response header (before the first message) or trailer. */
  setHeader(name: string, value: string): void;
  setTrailer(name: string, value: string): void;
  /** Full method name `/package.Service/Method`. */
  readonly method: string;
  /** Messages of this call so far, when the transport counts them. */
  readonly received?: number;
  readonly sent?: number;
  /** Peer facts when the transport knows them. */
  readonly peer?: { readonly pid: number; readonly uid: number; readonly gid: number } | undefined;
}

/** A message that is encoded already: parts are written in order, uncopied. For hot paths such as content Read. */
export class EncodedMessage {
  readonly parts: readonly Uint8Array[];
  constructor(parts: readonly Uint8Array[]) {
    this.parts = parts;
  }
}

type Out<D extends DescMessage> = MessageInitShape<D> | EncodedMessage;

/** Handler of one method, by its kind. */
export type MethodHandler<M extends DescMethod> = M["methodKind"] extends "unary"
  ? (
      request: MessageShape<M["input"]>,
      context: HandlerContext,
    ) => Promise<Out<M["output"]>> | Out<M["output"]>
  : M["methodKind"] extends "server_streaming"
    ? (request: MessageShape<M["input"]>, context: HandlerContext) => AsyncIterable<Out<M["output"]>>
    : M["methodKind"] extends "client_streaming"
      ? (
          requests: AsyncIterable<MessageShape<M["input"]>>,
          context: HandlerContext,
        ) => Promise<Out<M["output"]>>
      : (
          requests: AsyncIterable<MessageShape<M["input"]>>,
          context: HandlerContext,
        ) => AsyncIterable<Out<M["output"]>>;

/** Handlers of a service by local method name. A missing method answers `not-implemented`. */
export type ServiceHandlers<S extends DescService> = {
  readonly [K in keyof S["method"]]?: MethodHandler<S["method"][K]>;
};

/** A service with its handlers, types erased for lists. */
export interface ServiceBinding {
  readonly service: DescService;
  readonly handlers: Readonly<Record<string, unknown>>;
  /** Services that come with it: one plugin may offer several. */
  readonly more?: readonly ServiceBinding[] | undefined;
}

/** Pairs a descriptor with its handlers. */
export function bindService<S extends DescService>(service: S, handlers: ServiceHandlers<S>): ServiceBinding {
  return { service, handlers: handlers as Readonly<Record<string, unknown>> };
}

/** Options of one client call. */
export interface ClientCallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from now; sent to the server. */
  readonly timeoutMs?: number | undefined;
  readonly headers?: Headers | undefined;
  /** Called with the response trailers. */
  readonly onTrailer?: ((trailers: Headers) => void) | undefined;
  /** Part of a trace the call belongs to: a unary call becomes a span of its own below it, which the server is told of. */
  readonly span?: Span | undefined;
}

/** A connection that can call methods. Errors are GantryError with the class the server sent. */
export interface Transport extends AsyncDisposable {
  /** How traces name the protocol. */
  readonly protocol?: "grpc" | "ttrpc";
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    options?: ClientCallOptions,
  ): Promise<MessageShape<O>>;
  /** Any streaming method; unary requests are given as an iterable of one. Breaking out of the result cancels the call. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    requests: AsyncIterable<MessageInitShape<I>>,
    options?: ClientCallOptions,
  ): AsyncIterable<MessageShape<O>>;
  /** Resolves when the calls made until now are on their way to the server, or cannot be: time for work of one's own. */
  sent?(): Promise<void>;
  close(): Promise<void>;
}

/** A method of a client. */
export type ClientMethod<M extends DescMethod> = M["methodKind"] extends "unary"
  ? (request: MessageInitShape<M["input"]>, options?: ClientCallOptions) => Promise<MessageShape<M["output"]>>
  : M["methodKind"] extends "server_streaming"
    ? (
        request: MessageInitShape<M["input"]>,
        options?: ClientCallOptions,
      ) => AsyncIterable<MessageShape<M["output"]>>
    : M["methodKind"] extends "client_streaming"
      ? (
          requests: AsyncIterable<MessageInitShape<M["input"]>>,
          options?: ClientCallOptions,
        ) => Promise<MessageShape<M["output"]>>
      : (
          requests: AsyncIterable<MessageInitShape<M["input"]>>,
          options?: ClientCallOptions,
        ) => AsyncIterable<MessageShape<M["output"]>>;

/** A typed client of a service. Made by `createClient(service, transport)` in client.ts. */
export type Client<S extends DescService> = {
  readonly [K in keyof S["method"]]: ClientMethod<S["method"][K]>;
};

/**
 * Runs around every handler: error mapping, metrics, tracing, logging. Calls `next()` once; with a call, what is inside
 * of it sees that one in its context.
 */
export type Interceptor = (
  method: DescMethod,
  context: HandlerContext,
  next: (call?: Call) => Promise<void>,
) => Promise<void>;

/** Limits of a server. Bytes and counts. */
export interface ServerLimits {
  /** Largest message received; larger is refused from its announced length, before it is buffered. */
  readonly maxReceive: number;
  /** Largest message sent. */
  readonly maxSend: number;
  readonly maxConcurrentStreams: number;
}

/** Options of both servers. */
export interface ServerOptions {
  readonly services: readonly ServiceBinding[];
  readonly interceptors?: readonly Interceptor[] | undefined;
  readonly limits?: Partial<ServerLimits> | undefined;
  /** Root call handlers' calls derive from (logger, daemon stop signal). */
  readonly call?: Call | undefined;
}

/** Where a server listens. */
export type ListenAddress =
  | {
      readonly path: string;
      readonly mode?: number | undefined;
      readonly uid?: number | undefined;
      readonly gid?: number | undefined;
    }
  | {
      readonly host: string;
      readonly port: number;
      readonly tls?: ServerTls | undefined;
    }
  /** An inherited listening socket. */
  | { readonly fd: number };

/** TLS of a listening TCP socket; PEM texts. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Clients must have a certificate of this authority. */
  readonly ca?: string | undefined;
  /** And this common name in it. */
  readonly commonName?: string | undefined;
}

/** A running server. */
export interface RpcServer {
  listen(address: ListenAddress): Promise<{ port?: number | undefined }>;
  /** Stops accepting, lets running calls end for at most `graceMs` (GOAWAY on gRPC), then cuts. */
  drain(graceMs: number): Promise<void>;
  close(): Promise<void>;
  /** Open connections and running calls. */
  readonly load: { connections: number; calls: number };
}
