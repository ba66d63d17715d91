import { H2Code, H2ConnectionError } from "./errors.ts";
import { PREFACE } from "./frames.ts";

/** Takes the fixed bytes that a client sends first (RFC 9113, 3.4). */
export class PrefaceReader {
  #seen: number;

  /** @param expected false on the client's side: servers send none */
  constructor(expected: boolean) {
    this.#seen = expected ? 0 : PREFACE.length;
  }

  /** @returns the bytes behind the preface; undefined when there are none yet @throws H2ConnectionError on other bytes */
  take(chunk: Uint8Array): Uint8Array | undefined {
    if (this.#seen === PREFACE.length) return chunk;
    const n = Math.min(PREFACE.length - this.#seen, chunk.length);
    for (let i = 0; i < n; i++) {
      if (chunk[i] !== PREFACE[this.#seen + i])
        throw new H2ConnectionError(H2Code.PROTOCOL_ERROR, "read preface: not HTTP/2");
    }
    this.#seen += n;
    return n < chunk.length ? chunk.subarray(n) : undefined;
  }
}
