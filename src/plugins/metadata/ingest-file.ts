/** The growing file of an ingest with the digest of what is in it. */
import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { mapFsError } from "./fs-error.ts";

/** Bytes read at once when a file is hashed again. */
const CHUNK = 1 << 20;
/** Hash states kept after closing, so that a resumed ingest need not be read again. */
const KEPT = 64;
const kept = new Map<string, { readonly offset: number; readonly hash: Hash }>();

/** See the head of this file. */
export class IngestFile {
  readonly #path: string;
  readonly #file: FileHandle;
  #hash: Hash;
  #offset: number;

  private constructor(path: string, file: FileHandle, hash: Hash, offset: number) {
    this.#path = path;
    this.#file = file;
    this.#hash = hash;
    this.#offset = offset;
  }

  /** Opens the file and continues behind what is in it. */
  static async open(path: string): Promise<IngestFile> {
    const file = await open(path, "a+", 0o600);
    try {
      const { size } = await file.stat();
      const known = kept.get(path);
      kept.delete(path);
      if (known?.offset === size) return new IngestFile(path, file, known.hash, size);
      return new IngestFile(path, file, await hashOf(file, size), size);
    } catch (err) {
      await file.close();
      throw err;
    }
  }

  get offset(): bigint {
    return BigInt(this.#offset);
  }

  /** Appends; the buffer may be reused when it resolves. */
  async write(data: Uint8Array): Promise<void> {
    try {
      let at = 0;
      while (at < data.length) {
        const { bytesWritten } = await this.#file.write(data, at, data.length - at);
        this.#hash.update(data.subarray(at, at + bytesWritten));
        at += bytesWritten;
        this.#offset += bytesWritten;
      }
    } catch (err) {
      throw mapFsError(err, "write content");
    }
  }

  /** Cuts to `size` bytes. */
  async truncate(size: number): Promise<void> {
    await this.#file.truncate(size);
    this.#hash = await hashOf(this.#file, size);
    this.#offset = size;
  }

  /** `sha256:...` of what is in the file. */
  digest(): string {
    return `sha256:${this.#hash.copy().digest("hex")}`;
  }

  /** Closes; `resume` keeps the hash state for the next open. */
  async close(resume: boolean): Promise<void> {
    if (resume) {
      kept.set(this.#path, { offset: this.#offset, hash: this.#hash });
      const oldest = kept.size > KEPT ? kept.keys().next().value : undefined;
      if (oldest !== undefined) kept.delete(oldest);
    }
    await this.#file.close();
  }
}

async function hashOf(file: FileHandle, size: number): Promise<Hash> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(Math.min(CHUNK, Math.max(size, 1)));
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash;
}
