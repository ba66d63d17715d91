/**
 * Network namespaces of pods. One is kept ready, because making one needs a process of its own. All of one daemon's have a
 * common beginning in their names, so that after a crash those that no pod's record names are found and removed.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { deleteNetns } from "../../platform/net/netns.ts";
import { NetnsMaker } from "../../platform/net/netns-maker.ts";

/** See the file's comment. */
export class Namespaces {
  readonly #dir: string;
  readonly #prefix: string;
  readonly #log: Logger;
  readonly #maker = new NetnsMaker();
  #spare: string | undefined;
  #filling: Promise<void> | undefined;
  #closed = false;

  /** @param dir where they are pinned; @param root folder that tells this daemon from others on the machine */
  constructor(dir: string, root: string, log: Logger) {
    this.#dir = dir;
    this.#prefix = `cni-${createHash("sha256").update(root).digest("hex").slice(0, 8)}`;
    this.#log = log;
  }

  /** A path for a new pod's namespace, and whether there is one already. The pod's record names it from now on. */
  take(): { readonly path: string; readonly ready: boolean } {
    const path = this.#spare;
    this.#spare = undefined;
    return path === undefined ? { path: this.#newPath(), ready: false } : { path, ready: true };
  }

  /** A path for a namespace that somebody else makes. */
  name(): string {
    return this.#newPath();
  }

  async create(path: string, signal: AbortSignal): Promise<void> {
    await this.#maker.create(path, signal);
  }

  /** Makes the next one, in the background. */
  fill(): void {
    if (this.#closed || this.#spare !== undefined || this.#filling !== undefined) return;
    const path = this.#newPath();
    this.#filling = this.#maker
      .create(path)
      .then(() => {
        if (this.#closed) deleteNetns(path);
        else this.#spare = path;
      })
      .catch((err: unknown) =>
        this.#log.warn("make a network namespace in advance", { path, err: messageOf(err) }),
      )
      .finally(() => {
        this.#filling = undefined;
      });
  }

  /** Removes what is this daemon's and no pod's. */
  async sweep(used: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      const path = join(this.#dir, name);
      if (!name.startsWith(this.#prefix) || used.has(path) || path === this.#spare) continue;
      this.#log.info("network namespace of no pod is removed", { path });
      deleteNetns(path);
    }
  }

  /** Takes the spare one down. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#filling;
    if (this.#spare !== undefined) deleteNetns(this.#spare);
    this.#spare = undefined;
    this.#maker.close();
  }

  #newPath(): string {
    return join(this.#dir, `${this.#prefix}${randomBytes(12).toString("hex")}`);
  }
}
