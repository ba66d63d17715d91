import { Buffer } from "node:buffer";

/**
 * First buffer of a message whose end has not arrived: one chunk of content with its frame. Beyond it the buffer grows
 * as bytes come, never by announcement alone.
 */
const FIRST_BUFFER = 1088 << 10;

/** Collects one message of known length into a buffer of its own, so that no socket chunk is kept alive by it. */
export class Assembler {
  #length = 0;
  #buffer: Uint8Array = EMPTY;
  #fill = 0;

  /** A message of `length` bytes begins. */
  begin(length: number): void {
    this.#length = length;
    this.#fill = 0;
    this.#buffer = EMPTY;
  }

  /** Bytes that have not arrived. */
  get missing(): number {
    return this.#length - this.#fill;
  }

  /** Takes what belongs to the message from `chunk` at `from`; returns the number of bytes. */
  add(chunk: Uint8Array, from: number): number {
    const n = Math.min(this.#length - this.#fill, chunk.length - from);
    const needed = this.#fill + n;
    if (needed > this.#buffer.length) {
      const size = Math.min(this.#length, Math.max(2 * this.#buffer.length, needed, FIRST_BUFFER));
      // A plain Uint8Array: byte fields of messages are views of it, and nobody expects a Buffer there.
      const bigger = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
      bigger.set(this.#buffer.subarray(0, this.#fill));
      this.#buffer = bigger;
    }
    this.#buffer.set(from === 0 && n === chunk.length ? chunk : chunk.subarray(from, from + n), this.#fill);
    this.#fill = needed;
    return n;
  }

  /** The complete message; the caller owns it. */
  take(): Uint8Array {
    const bytes = this.#buffer;
    this.#buffer = EMPTY;
    this.#length = 0;
    this.#fill = 0;
    return bytes;
  }
}

const EMPTY = new Uint8Array(0);
