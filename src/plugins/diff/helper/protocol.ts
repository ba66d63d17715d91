/**
 * What the daemon and its `gantry unpack` helper say to each other.
 *
 * Its stdin carries frames: one byte of type, four bytes of length (little endian), the payload. Its stdout carries one
 * JSON report per line. The end of stdin ends the helper. The instruction is its first argument, as JSON; a helper started
 * with "-" is one for layers: it gets its instruction in a start frame, and after a layer it waits for the next one.
 */
import type { ErrorCode } from "../../../core/errors.ts";
import type { Mount } from "../../../core/mounts/mount.ts";

/** Starts an unpack. Paths are text; they come from the daemon's own configuration, never from a layer. */
export interface UnpackInstruction {
  readonly mode: "apply";
  /** Process that started the helper: when it is no longer the parent, the helper ends. */
  readonly parent: number;
  /** Where the compressed bytes come from: a file, or data frames. */
  readonly source: { readonly kind: "file"; readonly path: string } | { readonly kind: "frames" };
  /** `frames` only: file to append to; what it holds already is the start of the blob. */
  readonly blobPath?: string | undefined;
  readonly compression: "detect" | "none";
  /** Where to unpack; undefined = hash and store only. */
  readonly destination?: Destination | undefined;
  /** File that what is decompressed goes to, from its start, instead of a destination. */
  readonly plainPath?: string | undefined;
  readonly limits: { readonly entries: number; readonly bytes: number };
}

/** Makes a layer from what changed between two trees. */
export interface CompareInstruction {
  readonly mode: "compare";
  readonly parent: number;
  /** Empty = an empty tree. */
  readonly lower: readonly Mount[];
  readonly upper: readonly Mount[];
  readonly compression: "gzip" | "zstd" | "none";
  /** File the layer is written to, from its start. */
  readonly outputPath: string;
  /** Latest modification time written. */
  readonly latest?: { readonly sec: number; readonly nsec: number } | undefined;
}

/** A place for the layer's files. */
export interface Destination {
  /** `directory`: use it as it is. `mounts`: mount these first, in a mount namespace of the helper's own. */
  readonly kind: "directory" | "mounts";
  readonly path: string;
  readonly mounts?: readonly Mount[] | undefined;
  /** `auto`: deferred when the directory is empty, as then nothing below can be touched. */
  readonly whiteouts: "defer" | "auto";
}

/** Payload of a finish frame. */
export interface FinishInstruction {
  readonly style: "overlay" | "plain";
  readonly overlayXattr: "trusted" | "user";
  /** Directories of the lower layers, nearest first. */
  readonly parents: readonly string[];
  /** Flush the destination's file system before the report. */
  readonly sync: boolean;
}

/** Frame types. */
export const FRAME = { start: 0x53, data: 0x44, end: 0x45, finish: 0x46 } as const;
/** Bytes before a frame's payload. */
const FRAME_HEADER = 5;

/** Reports of the helper. */
export type UnpackReport =
  | { readonly type: "progress"; readonly bytes: number }
  | {
      readonly type: "extracted";
      readonly blob: DigestAndSize;
      readonly diff?: DigestAndSize | undefined;
      readonly warnings: readonly string[];
    }
  /** `again`: the helper is back in the root it started with and takes another layer. */
  | { readonly type: "finished"; readonly again: boolean }
  | { readonly type: "compared"; readonly blob: DigestAndSize; readonly diff: DigestAndSize }
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string; readonly hint?: string };

export interface DigestAndSize {
  readonly digest: string;
  readonly size: number;
}

/** The header of a frame. */
export function frameHeader(type: number, length: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(FRAME_HEADER);
  header[0] = type;
  new DataView(header.buffer).setUint32(1, length, true);
  return header;
}

/** Cuts a byte stream into frames; data payloads are passed on in the pieces they arrive in. */
export class FrameReader {
  readonly #header = new Uint8Array(FRAME_HEADER);
  #have = 0;
  #type = 0;
  #left = 0;
  #payload: Uint8Array[] = [];

  /** The frames (or pieces of data frames) in `chunk`. */
  *push(chunk: Uint8Array): Generator<{ readonly type: number; readonly payload: Uint8Array }> {
    let at = 0;
    while (at < chunk.length || (this.#have === FRAME_HEADER && this.#left === 0)) {
      if (this.#have < FRAME_HEADER) {
        const take = Math.min(FRAME_HEADER - this.#have, chunk.length - at);
        this.#header.set(chunk.subarray(at, at + take), this.#have);
        this.#have += take;
        at += take;
        if (this.#have < FRAME_HEADER) return;
        this.#type = this.#header[0] ?? 0;
        this.#left = new DataView(this.#header.buffer).getUint32(1, true);
        this.#payload = [];
      }
      const take = Math.min(this.#left, chunk.length - at);
      const part = chunk.subarray(at, at + take);
      at += take;
      this.#left -= take;
      if (this.#left === 0) this.#have = 0;
      if (this.#type === FRAME.data) {
        if (take > 0) yield { type: this.#type, payload: part };
        continue;
      }
      this.#payload.push(part.slice());
      if (this.#left === 0) yield { type: this.#type, payload: join(this.#payload) };
    }
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
