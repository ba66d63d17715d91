import { failedPrecondition } from "../../../core/errors.ts";

/** Reads a byte stream in exact pieces; holds one chunk at a time. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Some bytes, at most `max`; empty at the end. */
  async some(max: number): Promise<Uint8Array> {
    while (this.#chunk.byteLength === 0 && !this.#ended) {
      const next = await this.#source.next();
      if (next.done === true) this.#ended = true;
      else this.#chunk = next.value;
    }
    const out = this.#chunk.subarray(0, max);
    this.#chunk = this.#chunk.subarray(out.byteLength);
    return out;
  }

  /** Exactly `length` bytes, or undefined when the stream ended before the first. @throws failed-precondition when cut off */
  async exact(length: number): Promise<Uint8Array | undefined> {
    const out = new Uint8Array(length);
    let at = 0;
    while (at < length) {
      const part = await this.some(length - at);
      if (part.byteLength === 0) {
        if (at === 0) return undefined;
        throw failedPrecondition("read archive: unexpected end");
      }
      out.set(part, at);
      at += part.byteLength;
    }
    return out;
  }

  /** Looks at the next bytes, at most `length`, without taking them. */
  async peek(length: number): Promise<Uint8Array> {
    const head = await this.exactOrLess(length);
    const joined = new Uint8Array(head.byteLength + this.#chunk.byteLength);
    joined.set(head, 0);
    joined.set(this.#chunk, head.byteLength);
    this.#chunk = joined;
    return head;
  }

  private async exactOrLess(length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let have = 0;
    while (have < length) {
      const part = await this.some(length - have);
      if (part.byteLength === 0) break;
      parts.push(new Uint8Array(part));
      have += part.byteLength;
    }
    return Buffer.concat(parts);
  }

  /** Drops `length` bytes. @throws failed-precondition when cut off */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const part = await this.some(left);
      if (part.byteLength === 0) throw failedPrecondition("read archive: unexpected end");
      left -= part.byteLength;
    }
  }

  /** The rest. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const part = await this.some(Number.MAX_SAFE_INTEGER);
      if (part.byteLength === 0) return;
      yield part;
    }
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
