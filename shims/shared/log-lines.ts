/**
 * Lines of the Kubernetes log format: `TIME STREAM F|P TEXT\n`, TIME in RFC 3339 with nanoseconds. F ends a line of the
 * container; P is a part of one, because it was longer than the limit or because the output ended without a newline.
 */
import { formatRfc3339Fixed, nowNs } from "../../src/lib/time.ts";
import { alloc } from "../../src/platform/ffi/memory.ts";

/** Bytes collected before they are written out. */
const BATCH = 65_536;
/** Longest part when no limit is wanted: a stream without newlines must not fill the memory. */
const UNLIMITED = 1 << 20;
/** Room for time, stream name, tag and newline. */
const PREFIX = 64;
const NEWLINE = 10;
const NOTHING = new Uint8Array(0);

/** Takes whole lines, at once; the bytes are the caller's again when it returns. */
export type WriteLines = (lines: Uint8Array) => void;

/** One for all streams of a shim: it is empty whenever nobody runs. */
let shared: Uint8Array | undefined;
const encoder = new TextEncoder();

/** Gives the batch's memory back until the next output. */
export function releaseBatch(): void {
  shared = undefined;
}

/** Cuts one stream into lines. */
export class LogLines {
  readonly #stream: string;
  readonly #max: number;
  /** The unfinished line. */
  #rest: Uint8Array = NOTHING;
  #length = 0;
  #out: Uint8Array = NOTHING;
  #used = 0;

  /**
   * @param max longest text of a line in bytes; 0 or less: no limit but memory's
   * @param begun an unfinished line, see {@link rest}
   */
  constructor(stream: string, max: number, begun: Uint8Array = NOTHING) {
    this.#stream = stream;
    this.#max = max > 0 ? max : UNLIMITED;
    if (begun.length > 0) this.#keep(begun);
  }

  /** The unfinished line. */
  rest(): Uint8Array {
    return this.#rest.slice(0, this.#length);
  }

  /** Passes on the lines that `chunk` completes, in batches. */
  push(chunk: Uint8Array, write: WriteLines): void {
    this.#begin();
    // One time for what was read at once: reading it again for each line would say no more.
    const [full, part] = this.#prefixes();
    let at = 0;
    while (at < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, at);
      const end = newline < 0 ? chunk.length : newline;
      while (this.#length + end - at > this.#max) {
        const cut = at + this.#max - this.#length;
        this.#line(part, chunk.subarray(at, cut), write);
        at = cut;
      }
      if (newline < 0) {
        this.#keep(chunk.subarray(at));
        break;
      }
      this.#line(full, chunk.subarray(at, end), write);
      at = end + 1;
    }
    this.#finish(write);
  }

  /** The stream ended: passes on what has no newline, as a part, so that joining the parts gives the same bytes. */
  end(write: WriteLines): void {
    if (this.#length === 0) return;
    this.#begin();
    this.#line(this.#prefixes()[1], NOTHING, write);
    this.#finish(write);
  }

  #prefixes(): [Uint8Array, Uint8Array] {
    const start = `${formatRfc3339Fixed(nowNs())} ${this.#stream}`;
    return [encoder.encode(`${start} F `), encoder.encode(`${start} P `)];
  }

  #begin(): void {
    const size = Math.max(BATCH, this.#max + PREFIX);
    if (size === BATCH) shared ??= alloc(BATCH);
    this.#out = size === BATCH && shared !== undefined ? shared : alloc(size);
    this.#used = 0;
  }

  #line(prefix: Uint8Array, text: Uint8Array, write: WriteLines): void {
    const size = prefix.length + this.#length + text.length + 1;
    if (this.#used + size > this.#out.length) this.#flush(write);
    const out = this.#out;
    let at = this.#used;
    out.set(prefix, at);
    at += prefix.length;
    if (this.#length > 0) {
      out.set(this.#rest.subarray(0, this.#length), at);
      at += this.#length;
      this.#length = 0;
    }
    out.set(text, at);
    at += text.length;
    out[at] = NEWLINE;
    this.#used = at + 1;
  }

  #keep(text: Uint8Array): void {
    const need = this.#length + text.length;
    if (need > this.#rest.length) {
      const larger = new Uint8Array(Math.min(this.#max, Math.max(1024, need * 2)));
      larger.set(this.#rest.subarray(0, this.#length));
      this.#rest = larger;
    }
    this.#rest.set(text, this.#length);
    this.#length = need;
  }

  #finish(write: WriteLines): void {
    this.#flush(write);
    this.#out = NOTHING;
  }

  #flush(write: WriteLines): void {
    if (this.#used > 0) write(this.#out.subarray(0, this.#used));
    this.#used = 0;
  }
}
