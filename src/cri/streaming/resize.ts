import { invalidArgument } from "../../core/errors.ts";
import { utf8Decode } from "../../lib/bytes.ts";
import { createDeferred, type Deferred } from "../../lib/deferred.ts";
import type { TerminalSize } from "./runtime.ts";

/** Longest text of one size. */
const MAX_TEXT = 1024;
/** Sizes kept for the reader; only the newest matters. */
const KEEP = 1;

/** Terminal sizes: JSON objects `{"Width":80,"Height":24}` one after the other, fed by the client, read by the runtime. */
export class ResizeEvents implements AsyncIterable<TerminalSize> {
  #text = "";
  #sizes: TerminalSize[] = [];
  #ended = false;
  #wake: Deferred<void> | undefined;

  /**
   * Adds received bytes.
   * @throws invalid-argument on what is no size
   */
  push(bytes: Uint8Array): void {
    if (this.#ended) return;
    if (bytes.length > MAX_TEXT) throw invalidArgument("read terminal size: too long");
    this.#text += utf8Decode(bytes);
    for (let end = this.#text.indexOf("}"); end >= 0; end = this.#text.indexOf("}")) {
      this.#sizes.push(parseSize(this.#text.slice(0, end + 1)));
      this.#text = this.#text.slice(end + 1);
    }
    this.#sizes.splice(0, this.#sizes.length - KEEP);
    if (this.#text.length > MAX_TEXT) throw invalidArgument("read terminal size: too long");
    this.#signal();
  }

  /** No more come. */
  end(): void {
    this.#ended = true;
    this.#signal();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TerminalSize, void, undefined> {
    for (;;) {
      const size = this.#sizes.shift();
      if (size !== undefined) yield size;
      else if (this.#ended) return;
      else {
        this.#wake = createDeferred<void>();
        await this.#wake.promise;
      }
    }
  }

  #signal(): void {
    this.#wake?.resolve();
    this.#wake = undefined;
  }
}

function parseSize(text: string): TerminalSize {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalidArgument("read terminal size: no JSON", { cause });
  }
  const { Width: columns, Height: rows } = (value ?? {}) as { Width?: unknown; Height?: unknown };
  if (!isCharacters(columns) || !isCharacters(rows))
    throw invalidArgument("read terminal size: out of range");
  return { columns, rows };
}

const isCharacters = (n: unknown): n is number =>
  typeof n === "number" && Number.isInteger(n) && n >= 0 && n <= 0xffff;
