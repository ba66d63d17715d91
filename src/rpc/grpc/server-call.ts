import type { Message } from "@bufbuild/protobuf";
import { Call } from "../../core/call.ts";
import { canceled, deadlineExceeded, internal, notImplemented } from "../../core/errors.ts";
import { LONGEST_TIMER_MS } from "../../lib/time.ts";
import { decodeMessage, type Encoded } from "../codec.ts";
import { type Route, type Router, runRoute, ServerContext } from "../dispatch.ts";
import { identityFromHeaders } from "../headers.ts";
import { H2Code } from "../http2/errors.ts";
import type { HeaderField } from "../http2/hpack-decoder.ts";
import { hpackEncode } from "../http2/hpack-encoder.ts";
import type { H2Stream, StreamEvents } from "../http2/stream.ts";
import { MessageQueue } from "../message-queue.ts";
import { GrpcCode, toStatus, type WireStatus } from "../status.ts";
import type { HandlerContext, Interceptor } from "../types.ts";
import { frameMessage, MessageReader } from "./framing.ts";
import { collectHeaders, isGrpcContentType, metadataFields, parseTimeout, statusFields } from "./metadata.ts";

/** What calls know of their connection. */
export interface ConnectionCalls {
  /** Calls whose handler has not returned. */
  count: number;
  readonly peer: HandlerContext["peer"];
}

/** What the calls of one server share. */
export interface ServerShared {
  readonly router: Router;
  readonly interceptors: readonly Interceptor[];
  readonly maxReceive: number;
  readonly maxSend: number;
  readonly base: Call;
  /** Calls whose handler has not returned. */
  readonly running: Set<ServerCall>;
}

const RESPONSE_FIELDS = [
  [":status", "200"],
  ["content-type", "application/grpc"],
] as const;
const RESPONSE_HEADERS = hpackEncode(RESPONSE_FIELDS);
const TRAILERS_OK = hpackEncode([["grpc-status", "0"]]);
const OK: WireStatus = { code: GrpcCode.OK, message: "", details: [], hint: undefined };

/**
 * One gRPC call on the server: `headers -> messages -> handler -> status`. A unary request is collected before its
 * handler starts; a streaming one starts it at once. The status is sent once: by the handler, by a refused message,
 * by the deadline, whichever is first; what a handler gives afterwards is dropped.
 */
export class ServerCall implements StreamEvents {
  readonly #stream: H2Stream;
  readonly #shared: ServerShared;
  readonly #onConnection: ConnectionCalls;
  readonly #abort = new AbortController();
  readonly #reader: MessageReader;
  #route: Route | undefined;
  #context: ServerContext | undefined;
  #requests: MessageQueue<Message> | undefined;
  #single: Uint8Array | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #headersSent = false;
  #done = false;

  /** @param onConnection the connection it came on */
  constructor(stream: H2Stream, shared: ServerShared, onConnection: ConnectionCalls) {
    this.#onConnection = onConnection;
    this.#stream = stream;
    this.#shared = shared;
    this.#reader = new MessageReader(shared.maxReceive, {
      message: (bytes, size) => this.#message(bytes, size),
      incomplete: (total, missing) => stream.expect(total, missing),
    });
  }

  headers(fields: readonly HeaderField[], _end: boolean, tooLarge: boolean): void {
    // Trailers of a client say nothing.
    if (this.#route !== undefined || this.#done) return;
    if (tooLarge) {
      this.#fail({
        code: GrpcCode.ResourceExhausted,
        message: "header list is too large",
        details: [],
        hint: undefined,
      });
      return;
    }
    try {
      this.#start(fields);
    } catch (err) {
      this.#fail(toStatus(err));
    }
  }

  #start(fields: readonly HeaderField[]): void {
    const headers = collectHeaders(fields);
    const path = headers.get(":path")?.[0];
    const method = headers.get(":method")?.[0];
    if (path === undefined || method === undefined || !wellFormed(fields)) {
      this.#done = true;
      this.#stream.reset(H2Code.PROTOCOL_ERROR);
      return;
    }
    if (method !== "POST" || !isGrpcContentType(headers.get("content-type")?.[0])) {
      this.#refuse(method === "POST" ? "415" : "405");
      return;
    }
    const encoding = headers.get("grpc-encoding")?.[0];
    if (encoding !== undefined && encoding !== "identity")
      throw notImplemented(`grpc: decompressor is not installed for grpc-encoding "${encoding}"`);
    const route = this.#shared.router.find(path);
    const { base } = this.#shared;
    const timeout = headers.get("grpc-timeout")?.[0];
    const ms = timeout === undefined ? undefined : parseTimeout(timeout);
    const identity = identityFromHeaders(headers);
    const call = new Call({
      ...identity,
      deadline: ms === undefined ? base.deadline : performance.now() + ms,
      signal: this.#abort.signal,
      log: base.log,
    });
    for (const name of PSEUDO) headers.delete(name);
    this.#route = route;
    this.#context = new ServerContext({ call, headers, method: path, peer: this.#onConnection.peer });
    if (ms !== undefined) this.#deadline(ms);
    if (route.takesOne) return;
    this.#requests = new MessageQueue<Message>(
      (bytes) => decodeMessage(route.method.input, bytes),
      (size) => this.#stream.consume(size),
    );
    this.#run(route, this.#context, this.#requests);
  }

  #deadline(ms: number): void {
    const passed = (): void => {
      const error = deadlineExceeded("context deadline exceeded");
      this.#fail(toStatus(error));
      this.#cancel(error);
    };
    // Longer than a timer can hold: nobody waits 24 days for the error.
    if (ms < LONGEST_TIMER_MS) this.#timer = setTimeout(passed, ms);
  }

  data(piece: Uint8Array): void {
    if (this.#done || this.#route === undefined) {
      this.#stream.consume(piece.length);
      return;
    }
    try {
      this.#reader.push(piece);
    } catch (err) {
      const status = toStatus(err);
      this.#fail(status);
      this.#cancel(canceled(status.message));
    }
  }

  #message(bytes: Uint8Array, size: number): void {
    this.#stream.complete();
    if (this.#requests !== undefined) {
      if (this.#context !== undefined) this.#context.received++;
      this.#requests.push(bytes, size);
      return;
    }
    this.#stream.consume(size);
    if (this.#single !== undefined) throw internal("grpc: a unary call got more than one message");
    this.#single = bytes;
  }

  end(): void {
    if (this.#done || this.#route === undefined || this.#context === undefined) return;
    if (this.#reader.partial) {
      const error = internal("grpc: the request ended inside a message");
      this.#fail(toStatus(error));
      this.#cancel(error);
    } else if (this.#requests !== undefined) this.#requests.end();
    else if (this.#single === undefined) this.#fail(toStatus(internal("grpc: the request has no message")));
    else {
      try {
        const request = decodeMessage(this.#route.method.input, this.#single);
        this.#single = undefined;
        this.#run(this.#route, this.#context, request);
      } catch (err) {
        this.#fail(toStatus(err));
      }
    }
  }

  aborted(): void {
    this.#done = true;
    clearTimeout(this.#timer);
    this.#single = undefined;
    this.#cancel(canceled("context canceled"));
  }

  /** Tells the handler that nobody waits for its answer. */
  cancel(reason: Error): void {
    this.#fail(toStatus(reason));
    this.#cancel(reason);
  }

  #cancel(reason: Error): void {
    if (!this.#abort.signal.aborted) this.#abort.abort(reason);
    this.#requests?.fail(reason);
  }

  #run(route: Route, context: ServerContext, input: Message | AsyncIterable<Message>): void {
    const { running, interceptors } = this.#shared;
    running.add(this);
    this.#onConnection.count++;
    runRoute(route, context, input, (message) => this.#send(message), interceptors)
      .then(
        () => this.#finish(OK),
        (err: unknown) => this.#finish(toStatus(err)),
      )
      .finally(() => {
        running.delete(this);
        this.#onConnection.count--;
        // A handler that answered without reading everything: its reader is gone.
        this.#requests?.fail(canceled("context canceled"));
      });
  }

  #send(message: Encoded): Promise<void> | undefined {
    if (this.#done) return undefined;
    const parts = frameMessage(message, this.#shared.maxSend);
    this.#sendHeaders();
    this.#stream.sendData(parts);
    return this.#stream.writable();
  }

  #sendHeaders(): void {
    if (this.#headersSent) return;
    const extra = this.#context?.responseHeaders;
    const block =
      extra === undefined || extra.size === 0
        ? RESPONSE_HEADERS
        : hpackEncode([...RESPONSE_FIELDS, ...metadataFields(extra)]);
    this.#headersSent = true;
    this.#stream.sendHeaders(block, false);
  }

  #finish(status: WireStatus): void {
    if (this.#done) return;
    try {
      if (status.code === GrpcCode.OK) this.#sendHeaders();
      this.#fail(status);
    } catch (err) {
      this.#context?.trailers.clear();
      this.#context?.responseHeaders.clear();
      this.#fail(toStatus(err));
    }
  }

  /** Sends the status, once. */
  #fail(status: WireStatus): void {
    if (this.#done) return;
    const trailers = this.#context?.trailers;
    const metadata = trailers === undefined || trailers.size === 0 ? [] : metadataFields(trailers);
    this.#done = true;
    clearTimeout(this.#timer);
    if (status.code === GrpcCode.OK && metadata.length === 0) {
      this.#stream.end(TRAILERS_OK);
      return;
    }
    const fields = [...statusFields(status), ...metadata];
    if (this.#headersSent) this.#stream.end(hpackEncode(fields));
    else this.#stream.sendHeaders(hpackEncode([...RESPONSE_FIELDS, ...fields]), true);
  }

  /** Not a gRPC request: plain HTTP answer. */
  #refuse(httpStatus: string): void {
    this.#done = true;
    this.#stream.sendHeaders(hpackEncode([[":status", httpStatus]]), true);
  }
}

const PSEUDO = [":method", ":scheme", ":path", ":authority"] as const;
const CONNECTION_FIELDS = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** Names that were found good: clients send the same few again and again. */
const GOOD_NAMES = new Set<string>();
const MAX_GOOD_NAMES = 256;

function goodName(name: string): boolean {
  if (GOOD_NAMES.has(name)) return true;
  if (name === "" || /[A-Z\x00-\x20]/.test(name) || CONNECTION_FIELDS.has(name)) return false;
  if (GOOD_NAMES.size < MAX_GOOD_NAMES && name.length <= 64) GOOD_NAMES.add(name);
  return true;
}

/** RFC 9113, 8.2 and 8.3: lower-case names, pseudo fields first and once, no connection fields. */
function wellFormed(fields: readonly HeaderField[]): boolean {
  let pseudo = true;
  const seen = new Set<string>();
  for (const { name, value } of fields) {
    if (name.startsWith(":")) {
      if (!pseudo || seen.has(name) || !PSEUDO.some((known) => known === name)) return false;
      seen.add(name);
    } else {
      pseudo = false;
      if (!goodName(name)) return false;
      if (name === "te" && value !== "trailers") return false;
    }
  }
  return true;
}
