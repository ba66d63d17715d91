import type { Duplex } from "node:stream";
import { canceled } from "../../core/errors.ts";
import { createDeferred, type Deferred } from "../../lib/deferred.ts";

/** Bytes received and not yet asked for before the socket is paused. */
const READ_AHEAD = 256 << 10;

/** A byte connection to a client: a socket, or a WebSocket that carries SPDY. */
export interface ByteTransport {
  /** Aborted when the connection is gone, whoever ended it. */
  readonly signal: AbortSignal;
  /** Received chunks until the client closes its side. Call once. */
  read(): AsyncGenerator<Uint8Array, void, undefined>;
  /**
   * Sends a chunk; resolves when there is room for more. Chunks leave in the order of the calls.
   * @throws canceled when the connection is gone
   */
  write(chunk: Uint8Array): Promise<void>;
  /** Sends without waiting, unless replies pile up far beyond the limit because the client does not read. */
  reply(chunk: Uint8Array): Promise<void>;
  /** Sends what is queued and closes our side; the client gets some time to close its own. Never throws. */
  end(): Promise<void>;
  /** Drops the connection. */
  destroy(): void;
}

/** Limits of one socket. */
export interface SocketLimits {
  readonly outboundBytes: number;
  readonly idleMs: number;
  readonly lingerMs: number;
}

/** The transport of an upgraded HTTP socket. */
export class SocketTransport implements ByteTransport {
  readonly #socket: Duplex;
  readonly #limits: SocketLimits;
  readonly #gone = new AbortController();
  readonly #idle: NodeJS.Timeout;
  #received: Uint8Array[] = [];
  #receivedBytes = 0;
  #over = false;
  #discard = false;
  #wake: Deferred<void> | undefined;
  #queued = 0;
  #drained: Deferred<void> | undefined;
  #active = performance.now();

  constructor(socket: Duplex, head: Uint8Array, limits: SocketLimits) {
    this.#socket = socket;
    this.#limits = limits;
    // One coarse timer for each connection: bytes only note the time.
    this.#idle = setInterval(
      () => {
        if (performance.now() - this.#active > limits.idleMs) this.destroy();
      },
      Math.max(limits.idleMs / 4, 10),
    );
    this.#idle.unref?.();
    if (head.length > 0) this.#take(head);
    socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
    socket.on("end", () => this.#finish());
    socket.on("error", () => this.#lost());
    socket.on("close", () => this.#lost());
    socket.resume();
  }

  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunks = this.#received;
      this.#received = [];
      if (this.#receivedBytes >= READ_AHEAD) this.#socket.resume();
      this.#receivedBytes = 0;
      yield* chunks;
      if (this.#received.length > 0) continue;
      if (this.#over) return;
      this.#wake = createDeferred<void>();
      await this.#wake.promise;
    }
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#send(chunk);
    await this.#below(this.#limits.outboundBytes);
  }

  async reply(chunk: Uint8Array): Promise<void> {
    this.#send(chunk);
    await this.#below(this.#limits.outboundBytes * 4);
  }

  async end(): Promise<void> {
    if (this.#gone.signal.aborted) return;
    // What still arrives is read and dropped: closing over unread bytes would reset the connection before the client has
    // read the outcome.
    this.#discard = true;
    this.#received = [];
    this.#socket.resume();
    const gone = createDeferred<void>();
    this.#gone.signal.addEventListener("abort", () => gone.resolve(), { once: true });
    let timer: NodeJS.Timeout | undefined;
    // A slow client may take its time for what is queued; only then the wait for its own close begins.
    this.#socket.once("finish", () => {
      if (this.#over) this.destroy();
      else timer = setTimeout(() => this.destroy(), this.#limits.lingerMs);
    });
    this.#socket.end();
    await gone.promise;
    clearTimeout(timer);
  }

  destroy(): void {
    this.#discard = true;
    this.#received = [];
    this.#socket.destroy();
    this.#lost();
  }

  #send(chunk: Uint8Array): void {
    if (this.#gone.signal.aborted) throw canceled("write to client: connection closed");
    this.#active = performance.now();
    this.#queued += chunk.length;
    this.#socket.write(chunk, () => {
      this.#queued -= chunk.length;
      this.#active = performance.now();
      this.#drained?.resolve();
      this.#drained = undefined;
    });
  }

  async #below(bytes: number): Promise<void> {
    while (this.#queued > bytes && !this.#gone.signal.aborted) {
      this.#drained ??= createDeferred<void>();
      await this.#drained.promise;
    }
  }

  #take(chunk: Uint8Array): void {
    this.#active = performance.now();
    if (this.#discard) return;
    this.#received.push(chunk);
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes >= READ_AHEAD) this.#socket.pause();
    this.#awake();
  }

  /** The client closed its side. */
  #finish(): void {
    this.#over = true;
    this.#awake();
    if (this.#discard) this.destroy();
  }

  #lost(): void {
    if (this.#gone.signal.aborted) return;
    clearInterval(this.#idle);
    // what came before the end is still read: the other side closes right after its last words
    this.#over = true;
    this.#gone.abort();
    this.#drained?.resolve();
    this.#drained = undefined;
    this.#awake();
  }

  #awake(): void {
    this.#wake?.resolve();
    this.#wake = undefined;
  }
}
