/** The networks that pods get: configuration folders, watched; each pod attached to all networks of its handler's folder. */
import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { type CniNetwork, loadNetworks } from "./conflist.ts";

/** Editors write in several steps: changes are looked at once, this long after the last. Milliseconds. */
const SETTLE_MS = 100;
/** How often plugins are asked whether they are ready (STATUS). Milliseconds. */
const ASK_MS = 10_000;

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
  readonly #ask: (network: CniNetwork) => Promise<void>;
  /** What plugins said when they were asked last; undefined = they are fine. */
  #refusal: string | undefined;
  #asking = false;
  #asker: NodeJS.Timeout | undefined;

  /**
   * @param max files loaded; 0 = all
   * @param ask whether a network could take a pod now; rejects when not
   */
  constructor(dir: string, max: number, log: Logger, ask: (network: CniNetwork) => Promise<void>) {
    this.#ask = ask;
    this.dir = dir;
    this.#max = max;
    this.#log = log;
  }

  /** What is loaded. Never waits. */
  get current(): LoadedNetworks {
    return this.#loaded;
  }

  /** Why no pod gets a network now, by what was loaded and what plugins said last. Never waits. */
  get problem(): string | undefined {
    return this.#loaded.problem ?? this.#refusal;
  }

  /** Loads and begins to watch. Never throws: what is wrong is what `current` tells. */
  async open(): Promise<void> {
    this.#watch();
    await this.reload();
    this.#asker = setInterval(() => void this.#askAll(), ASK_MS);
    this.#asker.unref();
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
    void this.#askAll();
  }

  /** Asks plugins in the background: one that hangs delays nobody. */
  async #askAll(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    let refusal: string | undefined;
    for (const network of this.#loaded.networks)
      await this.#ask(network).catch((err: unknown) => {
        refusal ??= messageOf(err);
      });
    if (refusal !== undefined && refusal !== this.#refusal)
      this.#log.warn("a network plugin is not ready", { dir: this.dir, reason: refusal });
    this.#refusal = refusal;
    this.#asking = false;
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
    clearInterval(this.#asker);
    this.#watcher?.close();
  }
}
