import { type FileHandle, open } from "node:fs/promises";
import type { BlobReader } from "../../core/content/content.ts";
import { mapFsError } from "./fs-error.ts";

/** Bytes per chunk of a stream. */
const CHUNK = 1 << 20;

/** Reads a blob's file. An open reader keeps working while the blob is deleted. */
export class FileBlobReader implements BlobReader {
  readonly size: bigint;
  readonly #file: FileHandle;
  #open = true;

  private constructor(file: FileHandle, size: bigint) {
    this.#file = file;
    this.size = size;
  }

  /** @throws not-found when the file is gone */
  static async open(path: string, what: string): Promise<FileBlobReader> {
    let file: FileHandle;
    try {
      file = await open(path, "r");
    } catch (err) {
      throw mapFsError(err, what);
    }
    return new FileBlobReader(file, BigInt((await file.stat()).size));
  }

  async readAt(offset: bigint, length: number): Promise<Uint8Array> {
    if (offset >= this.size) return new Uint8Array();
    const left = this.size - offset;
    const want = left < BigInt(length) ? Number(left) : length;
    const buffer = Buffer.allocUnsafeSlow(want);
    let at = 0;
    while (at < want) {
      const { bytesRead } = await this.#file.read(buffer, at, want - at, Number(offset) + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return at === want ? buffer : buffer.subarray(0, at);
  }

  stream(offset = 0n): AsyncGenerator<Uint8Array, void, undefined> {
    return streamOf(this, offset);
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A small blob that was in the kernel's memory: read already. */
export class MemoryBlobReader implements BlobReader {
  readonly size: bigint;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.size = BigInt(bytes.length);
  }

  async readAt(offset: bigint, length: number): Promise<Uint8Array> {
    if (offset >= this.size) return new Uint8Array();
    return this.#bytes.subarray(Number(offset), Number(offset) + length);
  }

  stream(offset = 0n): AsyncGenerator<Uint8Array, void, undefined> {
    return streamOf(this, offset);
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function* streamOf(reader: BlobReader, offset: bigint): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = offset; at < reader.size; ) {
    const data = await reader.readAt(at, CHUNK);
    if (data.length === 0) return;
    yield data;
    at += BigInt(data.length);
  }
}
