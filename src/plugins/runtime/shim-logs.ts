/**
 * Copies what shims log to our stderr. The FIFO of a bundle must have a reader before its shim opens it. Our own shims say in
 * each line whose it is, so one FIFO serves them all: it has a name in every bundle.
 */
import { linkSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { copyFd, createFifo, openFifo } from "../../platform/fs/fifo.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { close } from "../../platform/syscalls/files.ts";
import type { Bundle } from "./bundle.ts";

/** No namespace can have this name. */
const SHARED = ".log";

/** See the file's comment. */
export class ShimLogs {
  readonly #shared: string;
  #sharedInode: bigint | undefined;
  readonly #open = new Map<string, AbortController>();

  /** @param state folder of the bundles' namespaces */
  constructor(state: string) {
    this.#shared = join(state, SHARED);
  }

  /** Reads what shims of ours log from now on. */
  open(): void {
    try {
      this.#sharedInode ??= this.#readShared();
    } catch {
      // a file system without FIFOs: each bundle tries it for itself
    }
  }

  /** Makes the FIFO when it is missing, and sees to it that it is read from now on. @param own the shim is ours */
  follow(bundle: Bundle, own: boolean): void {
    const path = `${bundle.path}/log`;
    if (own && this.#link(path)) return;
    createFifo(path);
    this.#read(path);
  }

  /** @returns false when the bundle has a FIFO of its own already, or there can be no second name */
  #link(path: string): boolean {
    if (this.#sharedInode === undefined) return false;
    try {
      linkSync(this.#shared, path);
      return true;
    } catch (err) {
      if (!isErrno(err, "EEXIST")) return false;
      return statSync(path, { bigint: true }).ino === this.#sharedInode;
    }
  }

  #readShared(): bigint {
    mkdirSync(join(this.#shared, ".."), { recursive: true, mode: 0o700 });
    createFifo(this.#shared);
    this.#read(this.#shared);
    return statSync(this.#shared, { bigint: true }).ino;
  }

  #read(path: string): void {
    const fd = openFifo(path);
    const stop = new AbortController();
    this.#open.set(path, stop);
    void copyFd(fd, [2], { signal: stop.signal })
      // a log that cannot be read is no reason to lose the shim
      .catch(() => {})
      .finally(() => {
        if (this.#open.get(path) === stop) this.#open.delete(path);
        close(fd);
      });
  }

  /** The reader holds the FIFO's other end too, so it sees no end of file by itself. */
  end(bundle: Bundle): void {
    this.#open.get(`${bundle.path}/log`)?.abort();
  }

  endAll(): void {
    for (const stop of this.#open.values()) stop.abort();
  }
}
