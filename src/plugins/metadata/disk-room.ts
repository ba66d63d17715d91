/**
 * Disk space that the database holds before it needs it, so that small records, and above all deletions, still work on a
 * full disk: room set aside in its own files, and a reserve file that a deletion may give up.
 */
import type { FileHandle } from "node:fs/promises";
import { open, rm, truncate } from "node:fs/promises";
import { preallocate, preallocateFd } from "../../platform/fs/preallocate.ts";
import { isBun } from "../../platform/runtime.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";

/** Space kept back so that deleting still works on a full disk. */
const RESERVE_BYTES = 1 << 20;
/**
 * Set aside for the log, and for the database to grow into, after each checkpoint: small records, and above all deletions,
 * then find room on a full disk, whoever else takes what the reserve gave up.
 */
const ROOM_BYTES = 1 << 20;

/** See the head of this file. */
export class DiskRoom {
  readonly #path: string;
  readonly #file: FileHandle;
  #reserved = false;

  /** @param file open descriptor of the database at `path` */
  constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * Keeps room for the log and for a database of `size` bytes to grow; a disk that is full now, or a file system that
   * cannot, is no failure.
   */
  setAside(size: number): void {
    try {
      preallocate(`${this.#path}-wal`, ROOM_BYTES);
      // not by name: closing another descriptor of the database would drop SQLite's locks; Deno's numbers are its own
      if (isBun) preallocateFd(this.#file.fd, size + ROOM_BYTES);
    } catch (err) {
      if (!isErrno(err, "ENOSPC", "EDQUOT", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL")) throw err;
    }
  }

  /** Writes the reserve file when there is none. No room for it is no failure: the next checkpoint tries again. */
  async keepReserve(): Promise<void> {
    if (this.#reserved) return;
    const path = this.#reservePath;
    try {
      const file = await open(path, "w", 0o600);
      try {
        await file.write(Buffer.alloc(RESERVE_BYTES, 1));
        await file.datasync();
        this.#reserved = true;
      } finally {
        await file.close();
      }
    } catch {
      // half a reserve is none, and others need the room now; where even removing fails, the next try writes over it
      await rm(path, { force: true }).catch(() => {});
    }
  }

  /** Gives the reserve up. @returns false when there is none */
  async freeReserve(): Promise<boolean> {
    this.#reserved = false;
    return await truncate(this.#reservePath, 0).then(
      () => true,
      () => false,
    );
  }

  get #reservePath(): string {
    return `${this.#path}.reserve`;
  }
}
