import {
  canceled,
  deadlineExceeded,
  type GantryError,
  internal,
  unavailable,
  unknownError,
} from "../../core/errors.ts";
import { LONGEST_TIMER_MS } from "../../lib/time.ts";
import type { Encoded } from "../codec.ts";
import { H2Code, H2StreamError, h2CodeName } from "../http2/errors.ts";
import type { HeaderField } from "../http2/hpack-decoder.ts";
import type { H2Stream, StreamEvents } from "../http2/stream.ts";
import { fromStatus, GrpcCode } from "../status.ts";
import type { Headers } from "../types.ts";
import { frameMessage, MessageReader } from "./framing.ts";
import { codeOfHttp, collectHeaders, isGrpcContentType, statusFromTrailers } from "./metadata.ts";

/** What a call reports to its caller. */
export interface ClientCallEvents {
  /** A response message; call `taken(size)` when it is taken. */
  message(bytes: Uint8Array, size: number): void;
  /** Last event: undefined when the status is OK. */
  done(error: GantryError | undefined, trailers: Headers): void;
}

/** Limits of a client call. */
export interface ClientCallInit {
  readonly maxReceive: number;
  readonly maxSend: number;
  /** Milliseconds from now. */
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** Shown in errors when the connection breaks. */
  readonly peer: string;
}

/** One gRPC call on the client: request messages out, response messages and one status in. */
export class ClientCall implements StreamEvents {
  readonly #stream: H2Stream;
  readonly #init: ClientCallInit;
  readonly #events: ClientCallEvents;
  readonly #reader: MessageReader;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** On the monotonic clock, milliseconds. */
  #deadline = Number.POSITIVE_INFINITY;
  #done = false;
  #responded = false;
  /** True when the server surely did not process the call: it may be sent again. */
  refused = false;

  constructor(stream: H2Stream, headers: Uint8Array, init: ClientCallInit, events: ClientCallEvents) {
    this.#stream = stream;
    this.#init = init;
    this.#events = events;
    this.#reader = new MessageReader(init.maxReceive, {
      message: (bytes, size) => {
        stream.complete();
        this.#events.message(bytes, size);
      },
      incomplete: (total, missing) => stream.expect(total, missing),
    });
    stream.events = this;
    stream.sendHeaders(headers, false);
    const { timeoutMs: ms, signal } = init;
    if (ms !== undefined) this.#deadline = performance.now() + ms;
    if (ms !== undefined && ms < LONGEST_TIMER_MS)
      this.#timer = setTimeout(() => this.cancel(deadlineExceeded("context deadline exceeded")), ms);
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  readonly #onAbort = (): void => {
    const reason: unknown = this.#init.signal?.reason;
    const timeout =
      reason instanceof Error && (reason.name === "TimeoutError" || codeOf(reason) === "deadline-exceeded");
    this.cancel(timeout ? deadlineExceeded("context deadline exceeded") : canceled("context canceled"));
  };

  /** Sends one message; a promise when the server must catch up first. @throws resource-exhausted */
  send(message: Encoded): Promise<void> | undefined {
    if (this.#done) return undefined;
    this.#stream.sendData(frameMessage(message, this.#init.maxSend));
    return this.#stream.writable();
  }

  /** No more messages. */
  endRequests(): void {
    if (!this.#done) this.#stream.end();
  }

  /** The caller took a message of this size. */
  taken(size: number): void {
    this.#stream.consume(size);
  }

  /** Ends the call here and at the server. */
  cancel(error: GantryError): void {
    if (this.#done) return;
    this.#stream.reset(H2Code.CANCEL);
    this.#finish(error, NONE);
  }

  headers(fields: readonly HeaderField[], end: boolean, tooLarge: boolean): void {
    if (this.#done) return;
    if (tooLarge) {
      this.cancel(fromStatus(GrpcCode.ResourceExhausted, "grpc: the response's header list is too large"));
      return;
    }
    const headers = collectHeaders(fields);
    if (!this.#responded) {
      const status = headers.get(":status")?.[0] ?? "";
      if (status.startsWith("1")) return;
      this.#responded = true;
      const type = headers.get("content-type")?.[0];
      if (status !== "200" || !isGrpcContentType(type)) {
        const code = codeOfHttp(Number(status));
        const what = status === "200" ? `content-type "${type ?? ""}"` : `HTTP status ${status}`;
        const known = statusFromTrailers(headers);
        this.cancel(
          fromStatus(known?.code ?? code, known?.message ?? `unexpected ${what} from "${this.#init.peer}"`),
        );
        return;
      }
    }
    if (!end) return;
    const status = statusFromTrailers(headers);
    if (status === undefined)
      this.#finish(internal("server closed the stream without sending trailers"), headers);
    else if (status.code !== GrpcCode.OK)
      this.#finish(fromStatus(status.code, status.message, status.details, status.hint), headers);
    else if (this.#reader.partial)
      this.#finish(internal("grpc: the response ended inside a message"), headers);
    else this.#finish(undefined, headers);
  }

  data(piece: Uint8Array): void {
    if (this.#done) return;
    try {
      this.#reader.push(piece);
    } catch (err) {
      this.cancel(err as GantryError);
    }
  }

  end(): void {
    this.#finish(internal("server closed the stream without sending trailers"), NONE);
  }

  aborted(error: Error): void {
    if (!(error instanceof H2StreamError)) {
      this.#finish(unavailable(`call to "${this.#init.peer}": ${error.message}`, { cause: error }), NONE);
      return;
    }
    this.refused = error.h2code === H2Code.REFUSED_STREAM;
    // the server may end the call at the deadline before our own timer has had its turn
    const late = error.h2code === H2Code.CANCEL && performance.now() >= this.#deadline;
    this.#finish(
      late ? deadlineExceeded("context deadline exceeded", { cause: error }) : resetError(error),
      NONE,
    );
  }

  #finish(error: GantryError | undefined, trailers: Headers): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#timer);
    this.#init.signal?.removeEventListener("abort", this.#onAbort);
    this.#events.done(error, trailers);
  }
}

const NONE: Headers = new Map();

function codeOf(err: Error): unknown {
  return "code" in err ? err.code : undefined;
}

/** grpc.io, "Errors": HTTP/2 codes to statuses. */
function resetError(error: H2StreamError): GantryError {
  const text = `stream terminated by RST_STREAM with error code: ${h2CodeName(error.h2code)}`;
  switch (error.h2code) {
    case H2Code.CANCEL:
      return canceled(text, { cause: error });
    case H2Code.REFUSED_STREAM:
      return unavailable(text, { cause: error });
    case H2Code.ENHANCE_YOUR_CALM:
      return fromStatus(GrpcCode.ResourceExhausted, text);
    case H2Code.INADEQUATE_SECURITY:
      return fromStatus(GrpcCode.PermissionDenied, text);
    case H2Code.HTTP_1_1_REQUIRED:
      return unknownError(text, { cause: error });
    default:
      return internal(text, { cause: error });
  }
}
