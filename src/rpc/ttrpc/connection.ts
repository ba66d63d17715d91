import { type ByteStream, restingFd } from "../../platform/net/byte-stream.ts";
import type { Encoded } from "../codec.ts";
import { Output } from "../output.ts";
import { frameHeader, TtrpcReader, type TtrpcSink } from "./frames.ts";

/** Unread message bytes above which a connection stops reading; it goes on at half. */
const UNREAD_HIGH = 8 << 20;
/** Unsent bytes of a peer that does not read, above which the connection is cut. */
const UNSENT_MAX = 64 << 20;
/** How long a peer may take to read our last bytes. */
const LINGER_MS = 1000;

/** One ttrpc connection, either side: frames in and out over a connected stream, which it owns from now on. */
export class TtrpcConnection {
  readonly #socket: ByteStream;
  readonly #output: Output;
  readonly #onClose: (error: Error | undefined) => void;
  readonly #reader: TtrpcReader;
  #unread = 0;
  #paused = false;
  closed = false;

  constructor(socket: ByteStream, sink: TtrpcSink, onClose: (error: Error | undefined) => void) {
    this.#socket = socket;
    this.#onClose = onClose;
    this.#output = new Output(socket);
    const reader = new TtrpcReader(sink);
    this.#reader = reader;
    socket.on("data", (chunk: Uint8Array) => {
      if (!this.closed) reader.push(chunk);
    });
    socket.on("end", () => this.destroy(undefined));
    socket.on("error", (err: Error) => this.destroy(err));
    socket.on("close", () => this.destroy(undefined));
  }

  /**
   * Writes one frame; a promise when the peer must catch up first.
   * @throws resource-exhausted when the data is over the limit
   */
  send(type: number, flags: number, streamId: number, data: Encoded): Promise<void> | undefined {
    if (this.closed) return undefined;
    this.#output.push(frameHeader(type, flags, streamId, data.length));
    for (const part of data.parts) if (part.length > 0) this.#output.push(part);
    if (!this.#output.blocked) return undefined;
    if (this.#output.pending > UNSENT_MAX) {
      this.destroy(new Error("peer does not read"));
      return undefined;
    }
    return this.#output.drained();
  }

  /** The kernel's fd while nothing of the connection is in our memory: between two frames, with all answers written. */
  get restingFd(): number | undefined {
    if (this.closed || this.#paused || this.#output.pending > 0 || !this.#reader.atBoundary) return undefined;
    return restingFd(this.#socket);
  }

  /** A message of this size waits for its handler. */
  hold(bytes: number): void {
    this.#unread += bytes;
    if (this.#unread > UNREAD_HIGH && !this.#paused) {
      this.#paused = true;
      this.#socket.pause();
    }
  }

  /** A held message was taken or dropped. */
  release(bytes: number): void {
    this.#unread -= bytes;
    if (this.#paused && this.#unread <= UNREAD_HIGH / 2) {
      this.#paused = false;
      this.#socket.resume();
    }
  }

  /** Writes what is left, then ends. */
  close(): void {
    if (this.closed) return;
    this.#output.end();
    this.#finish(undefined);
    const linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    linger.unref?.();
  }

  /** Ends at once. */
  destroy(error: Error | undefined): void {
    this.#output.stop();
    this.#socket.destroy();
    this.#finish(error);
  }

  #finish(error: Error | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.#onClose(error);
  }
}
