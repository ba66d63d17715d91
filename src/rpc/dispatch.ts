/** From a method name to its running handler, the same for all transports. */

import type { DescMessage, DescMethod, Message, MessageInitShape } from "@bufbuild/protobuf";
import { abortError, type Call } from "../core/call.ts";
import { internal, notImplemented } from "../core/errors.ts";
import { type Encoded, encodeMessage } from "./codec.ts";
import type { EncodedMessage, HandlerContext, Headers, Interceptor, ServiceBinding } from "./types.ts";

type Handler = (input: unknown, context: HandlerContext) => unknown;

/** One method of a served service. */
export interface Route {
  readonly method: DescMethod;
  /** `/package.Service/Method` */
  readonly path: string;
  readonly handler: Handler;
  /** The request is one message. */
  readonly takesOne: boolean;
  /** The response is one message. */
  readonly givesOne: boolean;
}

/** The methods of a server by full name. */
export class Router {
  readonly #routes = new Map<string, Route>();
  readonly #services = new Set<string>();

  constructor(services: readonly ServiceBinding[]) {
    for (const { service, handlers } of services) {
      this.#services.add(service.typeName);
      for (const method of service.methods) {
        const handler = handlers[method.localName];
        const path = `/${service.typeName}/${method.name}`;
        if (typeof handler === "function")
          this.#routes.set(path, route(method, path, handler.bind(handlers) as Handler));
      }
    }
  }

  /**
   * The route of `/package.Service/Method`.
   * @throws not-implemented, with the texts of grpc-go
   */
  find(path: string): Route {
    const found = this.#routes.get(path);
    if (found !== undefined) return found;
    const slash = path.lastIndexOf("/");
    const service = path.slice(1, slash);
    throw notImplemented(
      this.#services.has(service)
        ? `unknown method ${path.slice(slash + 1)} for service ${service}`
        : `unknown service ${service}`,
    );
  }
}

function route(method: DescMethod, path: string, handler: Handler): Route {
  const kind = method.methodKind;
  return {
    method,
    path,
    handler,
    takesOne: kind === "unary" || kind === "server_streaming",
    givesOne: kind === "unary" || kind === "client_streaming",
  };
}

/** Hands an encoded response message to the transport; a promise when the peer must catch up first. */
export type Send = (message: Encoded) => Promise<void> | undefined;

/**
 * Runs a handler inside the interceptors and sends what it gives.
 * @param input the request message, or the iterable of them
 */
export function runRoute(
  route: Route,
  context: ServerContext,
  input: Message | AsyncIterable<Message>,
  send: Send,
  interceptors: readonly Interceptor[],
): Promise<void> {
  if (route.takesOne) context.received = 1;
  let next = (call?: Call): Promise<void> => {
    if (call !== undefined) context.call = call;
    return invoke(route, context, input, send);
  };
  for (let i = interceptors.length - 1; i >= 0; i--) {
    const interceptor = interceptors[i] as Interceptor;
    const inner = next;
    next = (call) => {
      if (call !== undefined) context.call = call;
      return interceptor(route.method, context, inner);
    };
  }
  return next();
}

async function invoke(
  route: Route,
  context: ServerContext,
  input: Message | AsyncIterable<Message>,
  send: Send,
): Promise<void> {
  const output = route.method.output;
  const result = route.handler(input, context);
  if (route.givesOne) {
    const value = (await result) as Out;
    const wait = send(encodeMessage(output, value));
    context.sent = 1;
    if (wait !== undefined) await wait;
    return;
  }
  if (!isAsyncIterable(result)) throw internal(`handler of "${route.path}" gave no stream`);
  const signal = context.call.signal;
  for await (const value of result) {
    // Leaving the loop runs the generator's cleanup.
    if (signal.aborted) throw abortError(signal);
    const wait = send(encodeMessage(output, value as Out));
    context.sent++;
    if (wait !== undefined) await wait;
  }
}

type Out = MessageInitShape<DescMessage> | EncodedMessage;

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

/** The {@link HandlerContext} of one call. Public for unit tests of handlers. */
export class ServerContext implements HandlerContext {
  /** An interceptor may give what is inside of it another one. */
  call: Call;
  readonly headers: Headers;
  readonly method: string;
  readonly peer: HandlerContext["peer"];
  /** Set by the handler; sent in front of the first message. */
  readonly responseHeaders = new Map<string, string[]>();
  readonly trailers = new Map<string, string[]>();
  received = 0;
  sent = 0;

  constructor(init: {
    readonly call: Call;
    readonly headers?: Headers | undefined;
    readonly method: string;
    readonly peer?: HandlerContext["peer"];
  }) {
    this.call = init.call;
    this.headers = init.headers ?? new Map();
    this.method = init.method;
    this.peer = init.peer;
  }

  header(name: string): string | undefined {
    return this.headers.get(name.toLowerCase())?.[0];
  }

  setHeader(name: string, value: string): void {
    this.responseHeaders.set(name.toLowerCase(), [value]);
  }

  setTrailer(name: string, value: string): void {
    this.trailers.set(name.toLowerCase(), [value]);
  }
}
