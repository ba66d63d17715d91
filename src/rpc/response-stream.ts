import { canceled, type GantryError } from "../core/errors.ts";
import { MessageQueue } from "./message-queue.ts";

/** A streaming call in flight, as the reader of its responses sees it. */
export interface StreamedCall {
  /** The reader took, or dropped, a message of this size. */
  taken(size: number): void;
  cancel(error: GantryError): void;
}

/**
 * Responses of a streaming call on the client, which a reader may ask for, and may leave, before there is a connection. A reader that
 * leaves cancels the call; the end of the call ends the requests.
 */
export class ResponseStream<T> extends MessageQueue<T> {
  readonly #stop = new AbortController();
  #call: StreamedCall | undefined;

  /** @param decode as of a {@link MessageQueue} */
  constructor(decode: (bytes: Uint8Array) => T) {
    super(
      decode,
      (size) => this.#call?.taken(size),
      () => {
        this.#stop.abort();
        this.#call?.cancel(canceled("context canceled"));
      },
    );
  }

  /** Aborted when no more requests are wanted. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** The call has begun; it is cancelled at once when its reader has left meanwhile. */
  begun(call: StreamedCall): void {
    this.#call = call;
    if (this.#stop.signal.aborted) call.cancel(canceled("context canceled"));
  }

  /** The call has ended. */
  done(error: GantryError | undefined): void {
    this.#stop.abort();
    if (error === undefined) this.end();
    else this.endWith(error);
  }
}
