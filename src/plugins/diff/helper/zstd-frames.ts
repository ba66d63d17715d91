import { invalidArgument } from "../../../core/errors.ts";

/** Largest window the decoder may be asked for: 128 MiB, what `zstd --ultra -22 --long` uses (S7). */
const MAX_WINDOW = 1 << 27;

/**
 * Follows the frames of a zstd stream (RFC 8878, section 3) without decoding them: the runtime's decoder does not tell a
 * stream that was cut off from a complete one, and takes windows as large as the stream wants.
 */
export class ZstdFrames {
  /** `magic`: at a frame's start. Others: inside. */
  #state: "magic" | "descriptor" | "header" | "skip-size" | "block" | "pass" = "magic";
  readonly #bytes = new Uint8Array(16);
  #have = 0;
  #want = 4;
  #pass = 0;
  #afterPass: "magic" | "block" = "magic";
  #checksum = false;
  #single = false;

  /** True at the end of a complete frame (or of nothing). */
  get complete(): boolean {
    return this.#state === "magic" && this.#have === 0;
  }

  /** Follows the next bytes. @throws invalid-argument on what is no zstd frame, or a window that is too large */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "pass") {
        const take = Math.min(this.#pass, chunk.length - at);
        this.#pass -= take;
        at += take;
        if (this.#pass === 0) this.#goto(this.#afterPass);
        continue;
      }
      this.#bytes[this.#have++] = chunk[at++] ?? 0;
      if (this.#have === this.#want) this.#step();
    }
  }

  #goto(state: "magic" | "descriptor" | "header" | "skip-size" | "block", want?: number): void {
    this.#state = state;
    this.#have = 0;
    this.#want = want ?? (state === "magic" || state === "skip-size" ? 4 : state === "block" ? 3 : 1);
  }

  #skip(bytes: number, then: "magic" | "block"): void {
    this.#have = 0;
    if (bytes === 0) {
      this.#goto(then);
      return;
    }
    this.#state = "pass";
    this.#pass = bytes;
    this.#afterPass = then;
  }

  #step(): void {
    const view = new DataView(this.#bytes.buffer);
    switch (this.#state) {
      case "magic": {
        const magic = view.getUint32(0, true);
        if (magic === 0xfd2fb528) this.#goto("descriptor");
        else if (magic >>> 4 === 0x184d2a5) this.#goto("skip-size");
        else throw invalidArgument("decompress zstd layer: data after the end of the stream");
        return;
      }
      case "skip-size":
        this.#skip(view.getUint32(0, true), "magic");
        return;
      case "descriptor": {
        const descriptor = this.#bytes[0] ?? 0;
        this.#single = (descriptor & 0x20) !== 0;
        this.#checksum = (descriptor & 0x04) !== 0;
        const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
        const content = [this.#single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
        const length = (this.#single ? 0 : 1) + dictionary + content;
        this.#goto("header", length);
        return;
      }
      case "header":
        this.#checkWindow();
        this.#goto("block");
        return;
      case "block": {
        const header = view.getUint16(0, true) | ((this.#bytes[2] ?? 0) << 16);
        const size = ((header >> 1) & 3) === 1 ? 1 : header >>> 3;
        if ((header & 1) === 0) this.#skip(size, "block");
        else this.#skip(size + (this.#checksum ? 4 : 0), "magic");
        return;
      }
      default:
    }
  }

  /** Window descriptor: exponent and mantissa. A single-segment frame has none: its content is its window. */
  #checkWindow(): void {
    if (this.#single) return;
    const byte = this.#bytes[0] ?? 0;
    const base = 2 ** (10 + (byte >> 3));
    const window = base + (base / 8) * (byte & 7);
    if (window > MAX_WINDOW)
      throw invalidArgument(`decompress zstd layer: window of ${window} bytes is too large`);
  }
}
