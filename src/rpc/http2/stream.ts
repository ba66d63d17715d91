import { createDeferred, type Deferred } from "../../lib/deferred.ts";
import { H2Code, H2StreamError } from "./errors.ts";
import { MAX_WINDOW } from "./frames.ts";
import type { HeaderField } from "./hpack-decoder.ts";
import type { ReceiveBudget } from "./receive-budget.ts";

/** What the user of a stream is told. Nothing is called after `end` of both sides or after `aborted`. */
export interface StreamEvents {
  /** The first header list (client: possibly several, of which 1xx are dropped) or the trailers (`end`). */
  headers(fields: readonly HeaderField[], end: boolean, tooLarge: boolean): void;
  /** Bytes that count as unread until `consume`. The piece may be kept. */
  data(piece: Uint8Array): void;
  /** The peer ended its side. */
  end(): void;
  /** The stream was reset by the peer or the connection is gone. */
  aborted(error: Error): void;
}

/** What a stream needs from its connection. */
export interface StreamHost {
  readonly isServer: boolean;
  readonly streamWindow: number;
  readonly budget: ReceiveBudget;
  sendHeaders(streamId: number, block: Uint8Array, end: boolean): void;
  sendReset(streamId: number, code: number): void;
  sendWindowUpdate(streamId: number, increment: number): void;
  /** The stream has something to send. */
  ready(stream: H2Stream): void;
  /** Bytes were taken by the reader. */
  read(bytes: number): void;
  /** Both sides ended, or reset. */
  closed(stream: H2Stream): void;
}

/** Bytes queued on a stream above which `writable` waits. */
const SEND_HIGH = 256 * 1024;

const NO_EVENTS: StreamEvents = { headers() {}, data() {}, end() {}, aborted() {} };

/** One HTTP/2 stream: its windows, what it still has to send, and its state. */
export class H2Stream {
  readonly id: number;
  readonly #host: StreamHost;
  events: StreamEvents = NO_EVENTS;

  localEnded = false;
  remoteEnded = false;
  closed = false;
  headersReceived = false;

  /** Send side: what the peer allows (may be negative after a SETTINGS change). */
  sendWindow: number;
  #queue: Uint8Array[] = [];
  #queueHead = 0;
  /** Bytes of the first queued part that went already. */
  #offset = 0;
  #queued = 0;
  #trailers: Uint8Array | undefined;
  #endQueued = false;
  #writable: Deferred<void> | undefined;

  /** Receive side: what we allow the peer. */
  #recvWindow: number;
  #unread = 0;
  /** Total size of the message that is arriving when it is larger than the window and was granted, else 0. */
  #large = 0;
  /** By how much the peer's allowance falls short of the message that is arriving. */
  #short = 0;

  constructor(id: number, host: StreamHost, sendWindow: number) {
    this.id = id;
    this.#host = host;
    this.sendWindow = sendWindow;
    this.#recvWindow = host.streamWindow;
  }

  /** Bytes waiting for window or socket. */
  get queued(): number {
    return this.#queued;
  }

  /** True when `fill` has something to do (bytes, or an end that waits behind them). */
  get hasOutput(): boolean {
    return this.#queued > 0 || this.#endQueued;
  }

  /** Sends a header block now. With `end`, this side is finished. */
  sendHeaders(block: Uint8Array, end: boolean): void {
    if (this.localEnded || this.closed) return;
    this.#host.sendHeaders(this.id, block, end);
    if (end) this.#endLocal();
  }

  /** Queues bytes; they are not copied and must not change afterwards. */
  sendData(parts: readonly Uint8Array[]): void {
    if (this.localEnded || this.closed || this.#endQueued) return;
    for (const part of parts) {
      if (part.length === 0) continue;
      this.#queue.push(part);
      this.#queued += part.length;
    }
    if (this.#queued > 0) this.#host.ready(this);
  }

  /** Ends this side after what is queued, with trailers or with an empty DATA frame. */
  end(trailers?: Uint8Array): void {
    if (this.localEnded || this.closed || this.#endQueued) return;
    if (trailers !== undefined && this.#queued === 0) {
      this.sendHeaders(trailers, true);
      return;
    }
    this.#trailers = trailers;
    this.#endQueued = true;
    this.#host.ready(this);
  }

  /** Undefined when more may be queued now, else resolves when it may. Resolves too when the stream ends. */
  writable(): Promise<void> | undefined {
    if (this.#queued < SEND_HIGH || this.closed) return undefined;
    this.#writable ??= createDeferred<void>();
    return this.#writable.promise;
  }

  /** True when the last DATA frame carries the end. For the scheduler. */
  get willEndWithData(): boolean {
    return this.#endQueued && this.#trailers === undefined;
  }

  /** Takes up to `max` queued bytes off into `into`; returns their number. For the scheduler. */
  take(max: number, into: (part: Uint8Array) => void): number {
    let left = Math.min(max, this.#queued);
    const n = left;
    while (left > 0) {
      const part = this.#queue[this.#queueHead] as Uint8Array;
      const rest = part.length - this.#offset;
      if (rest <= left) {
        into(this.#offset === 0 ? part : part.subarray(this.#offset));
        left -= rest;
        this.#offset = 0;
        this.#queueHead++;
      } else {
        into(part.subarray(this.#offset, this.#offset + left));
        this.#offset += left;
        left = 0;
      }
    }
    if (this.#queueHead === this.#queue.length) {
      this.#queue = [];
      this.#queueHead = 0;
    } else if (this.#queueHead > 256) {
      this.#queue = this.#queue.slice(this.#queueHead);
      this.#queueHead = 0;
    }
    this.#queued -= n;
    this.sendWindow -= n;
    if (this.#queued < SEND_HIGH / 2) this.#wakeWriter();
    return n;
  }

  /** Trailers that wait behind the queue. For the scheduler. */
  get trailers(): Uint8Array | undefined {
    return this.#trailers;
  }

  /** The scheduler sent END_STREAM. */
  sentEnd(): void {
    this.#endQueued = false;
    this.#endLocal();
  }

  /**
   * Ends both sides at once. Nothing more is delivered; queued bytes are dropped.
   * @param code H2Code for the peer
   */
  reset(code: number): void {
    if (this.closed) return;
    this.#host.sendReset(this.id, code);
    this.#close();
  }

  /** The reader took `n` bytes: they may be acknowledged. */
  consume(n: number): void {
    if (this.closed) return;
    this.#unread -= n;
    this.#host.read(n);
    this.#refill();
  }

  /**
   * A message began and `missing` of its `total` bytes have not arrived: makes sure the peer may send them. Messages
   * larger than the window wait for their turn in the connection's budget.
   */
  expect(total: number, missing: number): void {
    this.#short = Math.max(0, missing - this.#recvWindow);
    if (this.#short === 0) return;
    if (total > this.#host.streamWindow) {
      this.#host.budget.claim(this, total, () => {
        this.#large = total;
        this.#refill();
      });
    } else this.#refill();
  }

  /** The message announced by {@link expect} is complete. */
  complete(): void {
    this.#short = 0;
    if (this.#large === 0) return;
    this.#large = 0;
    this.#host.budget.release(this);
  }

  /** @throws H2StreamError when the peer sent more than it may. For the session. */
  received(n: number): void {
    this.#recvWindow -= n;
    this.#unread += n;
    if (this.#recvWindow < 0)
      throw new H2StreamError(this.id, H2Code.FLOW_CONTROL_ERROR, "read frame: stream window exceeded");
  }

  /** @throws H2StreamError when the window would overflow. For the session. */
  grow(increment: number): void {
    this.sendWindow += increment;
    if (this.sendWindow > MAX_WINDOW)
      throw new H2StreamError(this.id, H2Code.FLOW_CONTROL_ERROR, "read frame: window overflow");
    if (this.hasOutput) this.#host.ready(this);
  }

  /** The peer sent END_STREAM. For the session. */
  endRemote(): void {
    this.remoteEnded = true;
    this.events.end();
    if (this.localEnded) this.#close();
    // The server answered for good: what we still wanted to send has no reader.
    else if (!this.#host.isServer) this.reset(H2Code.NO_ERROR);
  }

  /** The stream ends without END_STREAM: tells the user. For the session. */
  abort(error: Error): void {
    if (this.closed) return;
    this.#close();
    this.events.aborted(error);
  }

  #endLocal(): void {
    this.localEnded = true;
    if (this.remoteEnded) this.#close();
    // The answer is complete before the request is: asks the client to stop sending (RFC 9113, 8.1).
    else if (this.#host.isServer) this.reset(H2Code.NO_ERROR);
  }

  #close(): void {
    if (this.closed) return;
    this.closed = true;
    this.localEnded = true;
    this.#queue = [];
    this.#queued = 0;
    this.#endQueued = false;
    this.#host.read(this.#unread);
    this.#unread = 0;
    this.#host.budget.release(this);
    this.#host.closed(this);
    this.#wakeWriter();
  }

  #wakeWriter(): void {
    const writer = this.#writable;
    this.#writable = undefined;
    writer?.resolve();
  }

  #refill(): void {
    if (this.remoteEnded || this.closed) return;
    const window = this.#host.streamWindow;
    const increment = Math.max(window, this.#large) - this.#unread - this.#recvWindow;
    if (increment <= 0 || (increment < window / 4 && this.#short === 0)) return;
    this.#recvWindow += increment;
    this.#short = Math.max(0, this.#short - increment);
    this.#host.sendWindowUpdate(this.id, increment);
  }
}
