/** The networks that pods get: configuration folders, watched; each pod attached to all networks of its handler's folder. */
import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { type CniNetwork, loadNetworks } from "./conflist.ts";

/** Editors write in several steps: changes are looked at once, this long after the last. Milliseconds. */
const SETTLE_MS = 100;

/** What a folder holds now. */
export interface LoadedNetworks {
  readonly networks: readonly CniNetwork[];
  /** Why there is none; undefined when there is. */
  readonly problem: string | undefined;
}

/** One configuration folder, loaded and watched. */
export class NetworkFolder implements Disposable {
  readonly dir: string;
  readonly #max: number;
  readonly #log: Logger;
  #loaded: LoadedNetworks = { networks: [], problem: "cni plugin not initialized" };
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #listeners = new Set<() => void>();

  /** @param max files loaded; 0 = all */
  constructor(dir: string, max: number, log: Logger) {
    this.dir = dir;
    this.#max = max;
    this.#log = log;
  }

  /** What is loaded. Never waits. */
  get current(): LoadedNetworks {
    return this.#loaded;
  }

  /** Called after each load. */
  onLoad(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Loads and begins to watch. Never throws: what is wrong is what `current` tells. */
  async open(): Promise<void> {
    this.#watch();
    await this.reload();
  }

  async reload(): Promise<void> {
    const before = this.#loaded.problem;
    try {
      this.#loaded = { networks: await loadNetworks(this.dir, this.#max, this.#log), problem: undefined };
    } catch (err) {
      // what was good stays in use for pods, but the node is told not ready as soon as the folder is empty
      this.#loaded = { networks: [], problem: messageOf(err) };
    }
    if (this.#loaded.problem !== before)
      this.#log.info("network configuration", {
        dir: this.dir,
        networks: this.#loaded.networks.map((n) => n.name),
        ...(this.#loaded.problem === undefined ? {} : { problem: this.#loaded.problem }),
      });
    for (const listener of this.#listeners) listener();
  }

  /** Watches the folder, or while it is missing the nearest one above it. */
  #watch(): void {
    if (this.#closed) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    for (let dir = this.dir; ; dir = dirname(dir)) {
      try {
        const watcher = watch(dir, { persistent: false }, () => this.#changed(dir));
        watcher.on("error", () => this.#changed(""));
        this.#watcher = watcher;
        return;
      } catch {
        if (dir === "/") return;
      }
    }
  }

  #changed(watched: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      // the folder itself may have come or gone
      if (watched !== this.dir || this.#loaded.problem !== undefined) this.#watch();
      void this.reload();
    }, SETTLE_MS);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
  }
}
