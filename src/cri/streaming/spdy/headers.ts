import { Buffer } from "node:buffer";
import { constants, createInflate, type Inflate } from "node:zlib";
import { invalidArgument, resourceExhausted } from "../../../core/errors.ts";
import { createDeferred } from "../../../lib/deferred.ts";
import { DICTIONARY_ADLER, spdyDictionary } from "./dictionary.ts";

/** Headers of a stream; names in lower case. */
export type SpdyHeaders = ReadonlyMap<string, string>;

/** Most pairs of one block. */
const MAX_PAIRS = 64;

/** Inflates the header blocks of one connection: all are one zlib stream. */
export class HeaderInflater {
  readonly #inflate: Inflate;
  readonly #max: number;
  #parts: Uint8Array[] = [];
  #size = 0;
  #failed: Error | undefined;

  /** @param max bytes of one block, inflated */
  constructor(max: number) {
    this.#max = max;
    this.#inflate = createInflate({ dictionary: spdyDictionary(), chunkSize: 4096 });
    this.#inflate.on("data", (part: Uint8Array) => {
      this.#size += part.length;
      if (this.#size <= this.#max) this.#parts.push(part);
      else this.#fail(resourceExhausted(`read spdy headers: more than ${this.#max} bytes`));
    });
    this.#inflate.on("error", (cause) =>
      this.#fail(invalidArgument("read spdy headers: not in the connection's compression", { cause })),
    );
  }

  /**
   * Headers of the next block, in the order of arrival. One call at a time.
   * @throws invalid-argument (damaged), resource-exhausted (too large); the connection cannot be used any more
   */
  async read(block: Uint8Array): Promise<SpdyHeaders> {
    this.#parts = [];
    this.#size = 0;
    if (this.#failed === undefined) {
      const done = createDeferred<void>();
      this.#inflate.once("close", () => done.resolve());
      this.#inflate.write(block);
      // The flush's callback may come before the last "data" event: that is out one turn later.
      this.#inflate.flush(constants.Z_SYNC_FLUSH, () => setImmediate(() => done.resolve()));
      await done.promise;
      this.#inflate.removeAllListeners("close");
    }
    if (this.#failed !== undefined) throw this.#failed;
    return parseHeaders(Buffer.concat(this.#parts));
  }

  /** Frees the decompressor. */
  close(): void {
    this.#failed ??= invalidArgument("read spdy headers: closed");
    this.#inflate.destroy();
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#parts = [];
    this.#inflate.destroy();
  }
}

/**
 * Parses a name/value block: count, then length and bytes of each name and value.
 * @throws invalid-argument
 */
export function parseHeaders(block: Uint8Array): SpdyHeaders {
  const view = Buffer.from(block.buffer, block.byteOffset, block.length);
  let at = 0;
  const number = (): number => {
    if (at + 4 > view.length) throw invalidArgument("read spdy headers: cut short");
    at += 4;
    return view.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (length > view.length - at) throw invalidArgument("read spdy headers: cut short");
    at += length;
    return view.toString("latin1", at - length, at);
  };
  const count = number();
  if (count > MAX_PAIRS) throw invalidArgument(`read spdy headers: ${count} pairs, at most ${MAX_PAIRS}`);
  const headers = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    const name = text().toLowerCase();
    // Several values of one name are separated by NUL; none of ours has more than one.
    headers.set(name, text().split("\0")[0] ?? "");
  }
  if (at !== view.length) throw invalidArgument("read spdy headers: bytes after the last pair");
  return headers;
}

/**
 * Makes the header blocks of replies: always empty, so no compressor is kept. The first starts with the zlib header that
 * names the dictionary; each is a stored block with the count 0, then an empty stored block, without which Go's reader
 * reports an error at the second reply.
 */
export function createReplyBlocks(): () => Uint8Array {
  let first = true;
  return () => {
    const start = first ? [0x78, 0xbb, ...bigEndian(DICTIONARY_ADLER)] : [];
    first = false;
    const stored = [0x00, 0x04, 0x00, 0xfb, 0xff, 0, 0, 0, 0];
    return Uint8Array.from([...start, ...stored, 0x00, 0x00, 0x00, 0xff, 0xff]);
  };
}

function bigEndian(n: number): number[] {
  return [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
}
