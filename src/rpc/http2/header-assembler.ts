import { H2Code, H2ConnectionError } from "./errors.ts";
import { type HeaderField, HpackDecoder } from "./hpack-decoder.ts";

/** A whole decoded header block. */
export interface HeaderBlock {
  readonly streamId: number;
  /** END_STREAM was set. */
  readonly end: boolean;
  readonly fields: readonly HeaderField[];
  /** The list was over the limit; `fields` is empty then. */
  readonly tooLarge: boolean;
}

/** Joins HEADERS and CONTINUATION frames and decodes them, within limits (CVE-2024-27983 and its kin). */
export class HeaderAssembler {
  readonly #maxBlock: number;
  readonly #maxContinuations: number;
  readonly #decoder: HpackDecoder;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #end = false;
  /** The stream whose block is incomplete; 0 when there is none. */
  streamId = 0;

  constructor(maxList: number, maxContinuations: number) {
    this.#maxBlock = maxList;
    this.#maxContinuations = maxContinuations;
    this.#decoder = new HpackDecoder(maxList);
  }

  /** HEADERS arrived. */
  begin(streamId: number, end: boolean): void {
    this.streamId = streamId;
    this.#end = end;
  }

  /**
   * A piece arrived; returns the block when it was the last.
   * @throws H2ConnectionError COMPRESSION_ERROR, or ENHANCE_YOUR_CALM over the limits
   */
  add(piece: Uint8Array, last: boolean): HeaderBlock | undefined {
    this.#bytes += piece.length;
    if (this.#bytes > this.#maxBlock || this.#pieces.length > this.#maxContinuations)
      throw new H2ConnectionError(H2Code.ENHANCE_YOUR_CALM, "read headers: block is too large");
    if (!last) {
      // The payload lives in the socket's chunk, which is gone after this call.
      this.#pieces.push(piece.slice());
      return undefined;
    }
    const block = this.#pieces.length === 0 ? piece : this.#join(piece);
    const streamId = this.streamId;
    this.streamId = 0;
    this.#pieces = [];
    this.#bytes = 0;
    const fields = this.#decoder.decode(block);
    return { streamId, end: this.#end, fields, tooLarge: this.#decoder.overflow };
  }

  #join(last: Uint8Array): Uint8Array {
    const all = new Uint8Array(this.#bytes);
    let at = 0;
    for (const piece of [...this.#pieces, last]) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
}
