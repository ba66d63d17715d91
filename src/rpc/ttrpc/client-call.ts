import { abortError } from "../../core/call.ts";
import { deadlineExceeded, GantryError, internal, messageOf } from "../../core/errors.ts";
import { LONGEST_TIMER_MS } from "../../lib/time.ts";
import type { Encoded } from "../codec.ts";
import { fromStatus, GrpcCode } from "../status.ts";
import type { ChannelStream, ClientChannel } from "./client-channel.ts";
import { MessageFlag, MessageType } from "./frames.ts";
import { decodeResponse } from "./messages.ts";

/** What a call reports to its caller. */
export interface TtrpcCallEvents {
  /** A response message. With `held`, call `taken(bytes.length)` when the reader took it. */
  message(bytes: Uint8Array, held: boolean): void;
  /** Last event. */
  done(error: GantryError | undefined): void;
}

/** What a call is made of. */
export interface TtrpcCallParts {
  readonly channel: ClientChannel;
  /** 0 for a unary call, else remote-open or remote-closed. */
  readonly flags: number;
  readonly request: Encoded;
  /** Milliseconds from now. */
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly events: TtrpcCallEvents;
}

/** One ttrpc call on the client. Cancelling is local: the protocol has no word for it. */
export class TtrpcClientCall implements ChannelStream {
  readonly #channel: ClientChannel;
  readonly #id: number;
  readonly #events: TtrpcCallEvents;
  readonly #signal: AbortSignal | undefined;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  #done = false;
  #localOpen: boolean;

  /** Sends the request. @throws resource-exhausted when it is over the limit */
  constructor({ channel, flags, request, timeoutMs: ms, signal, events }: TtrpcCallParts) {
    this.#channel = channel;
    this.#events = events;
    this.#signal = signal;
    this.#localOpen = (flags & MessageFlag.REMOTE_OPEN) !== 0;
    this.#id = channel.open(this);
    try {
      channel.connection.send(MessageType.REQUEST, flags, this.#id, request);
    } catch (err) {
      channel.forget(this.#id);
      throw err;
    }
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (ms !== undefined && ms < LONGEST_TIMER_MS)
      this.#timer = setTimeout(() => this.cancel(deadlineExceeded("context deadline exceeded")), ms);
  }

  readonly #onAbort = (): void => {
    if (this.#signal !== undefined) this.cancel(abortError(this.#signal));
  };

  /** Sends one message of a streaming call. @throws resource-exhausted */
  send(message: Encoded): Promise<void> | undefined {
    if (this.#done) return undefined;
    return this.#channel.connection.send(MessageType.DATA, 0, this.#id, message);
  }

  /** No more messages. */
  endRequests(): void {
    if (!this.#localOpen) return;
    this.#localOpen = false;
    const flags = MessageFlag.REMOTE_CLOSED | MessageFlag.NO_DATA;
    this.#channel.connection.send(MessageType.DATA, flags, this.#id, NOTHING);
  }

  /** The reader took a held message. */
  taken(bytes: number): void {
    this.#channel.connection.release(bytes);
  }

  /** Gives up. An open request stream is ended, so that the server's handler can finish. */
  cancel(error: GantryError): void {
    if (this.#done) return;
    this.endRequests();
    this.#finish(error);
  }

  frame(type: number, flags: number, data: Uint8Array): void {
    if (type === MessageType.RESPONSE) this.#response(data);
    else if (type === MessageType.DATA) {
      if ((flags & MessageFlag.NO_DATA) === 0) {
        this.#channel.connection.hold(data.length);
        this.#events.message(data, true);
      }
      if ((flags & MessageFlag.REMOTE_CLOSED) !== 0) this.#finish(undefined);
    }
  }

  #response(data: Uint8Array): void {
    try {
      const { status, payload } = decodeResponse(data);
      if (status !== undefined && status.code !== GrpcCode.OK) {
        this.#finish(fromStatus(status.code, status.message, status.details));
        return;
      }
      this.#events.message(payload, false);
      this.#finish(undefined);
    } catch (err) {
      this.#finish(internal(`decode response: ${messageOf(err)}`, { cause: err }));
    }
  }

  failed(error: Error): void {
    this.#finish(error instanceof GantryError ? error : internal(error.message, { cause: error }));
  }

  #finish(error: GantryError | undefined): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#channel.forget(this.#id);
    this.#events.done(error);
  }
}

const NOTHING: Encoded = { parts: [], length: 0 };
