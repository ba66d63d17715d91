/** Copies what shims log to our stderr. The FIFO of a bundle must have a reader before its shim opens it. */
import { existsSync } from "node:fs";
import { copyFd, createFifo, openFifo } from "../../platform/fs/fifo.ts";
import { close } from "../../platform/syscalls/files.ts";
import type { Bundle } from "./bundle.ts";

/** See the file's comment. */
export class ShimLogs {
  readonly #open = new Map<string, AbortController>();

  /** Makes the FIFO when it is missing, and reads it from now on. */
  follow(bundle: Bundle): void {
    const path = `${bundle.path}/log`;
    if (!existsSync(path)) createFifo(path, 0o600);
    const fd = openFifo(path);
    const stop = new AbortController();
    this.#open.set(path, stop);
    void copyFd(fd, [2], { signal: stop.signal })
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
