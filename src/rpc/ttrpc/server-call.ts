import type { Message } from "@bufbuild/protobuf";
import { Call } from "../../core/call.ts";
import { canceled, deadlineExceeded, internal, invalidArgument, messageOf } from "../../core/errors.ts";
import { LONGEST_TIMER_MS } from "../../lib/time.ts";
import { decodeMessage, type Encoded } from "../codec.ts";
import { type Route, type Router, runRoute, ServerContext } from "../dispatch.ts";
import { identityFromHeaders, NAMESPACE_HEADER_TTRPC } from "../headers.ts";
import { MessageQueue } from "../message-queue.ts";
import { toStatus } from "../status.ts";
import type { HandlerContext, Interceptor } from "../types.ts";
import type { TtrpcConnection } from "./connection.ts";
import { MessageFlag, MessageType } from "./frames.ts";
import { decodeRequest, encodeErrorResponse, encodeResponse } from "./messages.ts";

/** What the calls of one server share. */
export interface TtrpcShared {
  readonly router: Router;
  readonly interceptors: readonly Interceptor[];
  readonly base: Call;
  /** Calls whose handler has not returned. */
  readonly running: Set<TtrpcServerCall>;
  /** A handler returned. */
  returned(): void;
}

const NOTHING: Encoded = { parts: [], length: 0 };

/** One ttrpc call on the server. The end of the stream is sent once, by the handler or by the deadline. */
export class TtrpcServerCall {
  readonly #id: number;
  readonly #connection: TtrpcConnection;
  readonly #shared: TtrpcShared;
  readonly #onEnd: () => void;
  readonly #abort = new AbortController();
  #requests: MessageQueue<Message> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #done = false;
  #remoteClosed = false;

  /** @param onEnd the stream ended: frames for its id are strays from now on */
  constructor(id: number, connection: TtrpcConnection, shared: TtrpcShared, onEnd: () => void) {
    this.#id = id;
    this.#connection = connection;
    this.#shared = shared;
    this.#onEnd = onEnd;
  }

  /** The Request frame. */
  start(flags: number, data: Uint8Array, peer: HandlerContext["peer"]): void {
    try {
      this.#start(flags, data, peer);
    } catch (err) {
      this.fail(err);
    }
  }

  #start(flags: number, data: Uint8Array, peer: HandlerContext["peer"]): void {
    const request = parse(data);
    const path = `/${request.service}/${request.method}`;
    const route = this.#shared.router.find(path);
    const { base } = this.#shared;
    const ms = request.timeoutNano > 0n ? Number(request.timeoutNano) / 1e6 : undefined;
    const call = new Call({
      ...identityFromHeaders(request.metadata, NAMESPACE_HEADER_TTRPC),
      deadline: ms === undefined ? base.deadline : performance.now() + ms,
      signal: this.#abort.signal,
      log: base.log,
    });
    const context = new ServerContext({ call, headers: request.metadata, method: path, peer });
    if (ms !== undefined && ms < LONGEST_TIMER_MS)
      this.#timer = setTimeout(() => this.cancel(deadlineExceeded("context deadline exceeded")), ms);
    if (route.takesOne) {
      this.#remoteClosed = true;
      this.#run(route, context, decodeMessage(route.method.input, request.payload));
      return;
    }
    const requests = new MessageQueue<Message>(
      (bytes) => decodeMessage(route.method.input, bytes),
      (size) => this.#connection.release(size),
    );
    this.#requests = requests;
    // A client that has one message and no more may put it into the request.
    if (request.payload.length > 0) this.#push(request.payload);
    if ((flags & MessageFlag.REMOTE_CLOSED) !== 0) this.#closeRemote();
    this.#run(route, context, requests);
  }

  /** A Data frame. */
  data(flags: number, data: Uint8Array): void {
    if (this.#remoteClosed || this.#requests === undefined) {
      this.cancel(invalidArgument(`stream ${this.#id}: data after the client closed it`));
      return;
    }
    if ((flags & MessageFlag.NO_DATA) === 0) this.#push(data);
    else if (data.length > 0) {
      this.cancel(invalidArgument("data close message cannot include data"));
      return;
    }
    if ((flags & MessageFlag.REMOTE_CLOSED) !== 0) this.#closeRemote();
  }

  #push(bytes: Uint8Array): void {
    this.#connection.hold(bytes.length);
    this.#requests?.push(bytes, bytes.length);
  }

  #closeRemote(): void {
    this.#remoteClosed = true;
    this.#requests?.end();
  }

  /** Answers with an error and tells the handler that nobody waits any more. */
  cancel(reason: Error): void {
    this.fail(reason);
    if (!this.#abort.signal.aborted) this.#abort.abort(reason);
    this.#requests?.fail(reason);
  }

  /** The connection is gone. */
  lost(): void {
    this.#end();
    this.cancel(canceled("context canceled"));
  }

  #run(route: Route, context: ServerContext, input: Message | AsyncIterable<Message>): void {
    const { running, interceptors } = this.#shared;
    running.add(this);
    runRoute(route, context, input, (message) => this.#send(route, message), interceptors)
      .then(
        () => this.#finish(route),
        (err: unknown) => this.fail(err),
      )
      .finally(() => {
        running.delete(this);
        this.#requests?.fail(canceled("context canceled"));
        this.#shared.returned();
      });
  }

  #send(route: Route, message: Encoded): Promise<void> | undefined {
    if (this.#done) return undefined;
    if (!route.givesOne) return this.#connection.send(MessageType.DATA, 0, this.#id, message);
    const wait = this.#connection.send(MessageType.RESPONSE, 0, this.#id, encodeResponse(message));
    this.#end();
    return wait;
  }

  #finish(route: Route): void {
    if (this.#done || route.givesOne) return;
    const flags = MessageFlag.REMOTE_CLOSED | MessageFlag.NO_DATA;
    this.#connection.send(MessageType.DATA, flags, this.#id, NOTHING);
    this.#end();
  }

  /** Sends an error, unless the stream has ended. */
  fail(err: unknown): void {
    if (this.#done) return;
    const response = encodeErrorResponse(toStatus(err));
    try {
      this.#connection.send(MessageType.RESPONSE, 0, this.#id, response);
    } catch {
      // longer than a frame may be: the caller must still have an answer
      const short = encodeErrorResponse(toStatus(internal("the error is larger than a frame")));
      this.#connection.send(MessageType.RESPONSE, 0, this.#id, short);
    }
    this.#end();
  }

  #end(): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#timer);
    this.#onEnd();
  }
}

function parse(data: Uint8Array): ReturnType<typeof decodeRequest> {
  try {
    return decodeRequest(data);
  } catch (err) {
    throw invalidArgument(`decode request: ${messageOf(err)}`, { cause: err });
  }
}
