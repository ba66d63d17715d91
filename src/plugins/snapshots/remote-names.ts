/**
 * Which names another process has for our snapshots: one small file per snapshot, so that a name is durable before the
 * process is asked to make it, and nothing of the process's is ever removed that we did not ask for.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { internal } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { writeFileAtomic } from "../../platform/fs/atomic-write.ts";

/** Names of one snapshot. */
export interface RemoteNames {
  /** Namespace the names were made in. */
  readonly namespace: string;
  /** Name while active or a view. */
  readonly key: string;
  /** Name once committed; set when the commit begins. Equal to `key` for a snapshot that was taken over. */
  readonly name?: string;
}

/** The names of one snapshotter, all held in memory. */
export class RemoteNamesFile {
  readonly #dir: string;
  readonly #names: Map<bigint, RemoteNames>;

  private constructor(dir: string, names: Map<bigint, RemoteNames>) {
    this.#dir = dir;
    this.#names = names;
  }

  /** Reads what is below `dir`. A file that cannot be read is left alone and logged. */
  static async open(dir: string, log: Logger): Promise<RemoteNamesFile> {
    const names = new Map<bigint, RemoteNames>();
    for (const file of await readdir(dir)) {
      if (file.includes(".tmp-")) await rm(join(dir, file), { force: true });
      if (!/^\d+$/.test(file)) continue;
      try {
        names.set(BigInt(file), parse(await readFile(join(dir, file), "utf8")));
      } catch (err) {
        log.error("names of a remote snapshot are damaged", { file: join(dir, file), err });
      }
    }
    return new RemoteNamesFile(dir, names);
  }

  /** Records names; they are on disk when it resolves. */
  async set(id: bigint, names: RemoteNames): Promise<void> {
    await writeFileAtomic(join(this.#dir, String(id)), JSON.stringify(names), { mode: 0o600 });
    this.#names.set(id, names);
  }

  find(id: bigint): RemoteNames | undefined {
    return this.#names.get(id);
  }

  /** @throws internal when nothing is known of the snapshot */
  get(id: bigint): RemoteNames {
    const names = this.#names.get(id);
    if (names === undefined) throw internal(`snapshot ${id}: its name in the other process is not known`);
    return names;
  }

  /** True when another snapshot has the same name: two clients took over one remote snapshot. */
  isShared(id: bigint): boolean {
    const own = this.#names.get(id);
    for (const [other, names] of this.#names)
      if (other !== id && names.name !== undefined && names.name === own?.name) return true;
    return false;
  }

  async delete(id: bigint): Promise<void> {
    await rm(join(this.#dir, String(id)), { force: true });
    this.#names.delete(id);
  }

  ids(): bigint[] {
    return [...this.#names.keys()];
  }
}

function parse(text: string): RemoteNames {
  const value: unknown = JSON.parse(text);
  if (typeof value === "object" && value !== null && "namespace" in value && "key" in value) {
    const { namespace, key } = value;
    const name = "name" in value ? value.name : undefined;
    if (typeof namespace === "string" && typeof key === "string")
      return typeof name === "string" ? { namespace, key, name } : { namespace, key };
  }
  throw new TypeError("want namespace and key");
}
