/** What the directory snapshotters share: `<root>/snapshots/<id>`, made whole or not at all, removed in the background. */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { background, type Call } from "../../core/call.ts";
import { internal } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Usage } from "../../core/snapshots/snapshotter.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import { spreadFolders } from "../../platform/fs/spread.ts";
import { diskUsage } from "../../platform/fs/usage.ts";
import { runJob } from "./jobs.ts";

/** Names of directories that are not snapshots: half made, or to be removed. */
const UNFINISHED = "new-";
const REMOVED = "rm-";

/** So few trees of so few files and folders are removed here: starting the helper costs more. */
const FEW_TREES = 4;
const FEW_FILES = 64;

/** The directories of one snapshotter. Nothing here knows what is inside them. */
export class SnapshotDirectories {
  /** Absolute. */
  readonly root: string;
  readonly #log: Logger;
  readonly #syncRemove: boolean;
  #sweeping: Promise<void> | undefined;
  #again = false;
  readonly #stop = new AbortController();
  /** The flush that runs, and the one that starts after it. */
  #flushing: Promise<void> = Promise.resolve();
  #nextFlush: Promise<void> | undefined;

  constructor(root: string, log: Logger, syncRemove: boolean) {
    this.root = root;
    this.#log = log;
    this.#syncRemove = syncRemove;
  }

  /** Makes the root. Only root may enter: layers hold set-id files (S8, S40). */
  async open(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o700 });
    await mkdir(join(this.root, "snapshots"), { recursive: true, mode: 0o700 });
    spreadFolders(join(this.root, "snapshots"));
  }

  /** Directory of a snapshot. */
  path(id: bigint, ...parts: string[]): string {
    return join(this.root, "snapshots", id.toString(), ...parts);
  }

  /** Makes a snapshot's directory: `fill` works on a temporary one that then takes the final name. */
  async create(id: bigint, fill: (path: string) => Promise<void>): Promise<void> {
    const temporary = join(this.root, "snapshots", `${UNFINISHED}${randomBytes(6).toString("hex")}`);
    await mkdir(temporary, { mode: 0o700 });
    try {
      await fill(temporary);
      await rename(temporary, this.path(id)).catch(async (err: unknown) => {
        // what a crash left under this id
        if (!(err instanceof Error && "code" in err && (err.code === "ENOTEMPTY" || err.code === "EEXIST")))
          throw err;
        await this.#putAside(id);
        await rename(temporary, this.path(id));
      });
    } catch (err) {
      await rename(temporary, this.#asideName()).catch(() => {});
      this.sweep();
      throw err;
    }
  }

  /** Removes a snapshot's directory: it vanishes at once, its content in the background. */
  async remove(call: Call, id: bigint): Promise<void> {
    const aside = await this.#putAside(id);
    if (aside === undefined) return;
    if (!this.#syncRemove) this.sweep();
    else if (!(await removedHere(aside))) await runJob(call, { mode: "remove", paths: [aside] });
  }

  /** Removes something inside a snapshot's directory the same way. A missing one is fine. */
  async discard(path: string): Promise<void> {
    await rename(path, this.#asideName()).catch((err: unknown) => {
      if (!(err instanceof Error && "code" in err && err.code === "ENOENT")) throw err;
    });
    this.sweep();
  }

  /** Ids that have a directory. */
  async ids(): Promise<bigint[]> {
    const names = await readdir(join(this.root, "snapshots"));
    return names.filter((name) => /^\d+$/.test(name)).map((name) => BigInt(name));
  }

  /** Measures a directory, in slices. */
  async usage(call: Call, path: string): Promise<Usage> {
    const { bytes, inodes } = await diskUsage(path, { signal: call.signal });
    return { inodes, size: bytes };
  }

  /**
   * Flushes the file system. Callers that come while a flush runs share the next one: it starts after all of them have
   * written. A caller that gives up leaves it to the others.
   */
  async flush(call: Call): Promise<void> {
    call.check();
    this.#nextFlush ??= this.#flushing
      .catch(() => {})
      .then(() => {
        this.#nextFlush = undefined;
        this.#flushing = runJob(background, { mode: "sync", path: this.root });
        return this.#flushing;
      });
    await this.#nextFlush;
    call.check();
  }

  /** Starts the removal of everything put aside, unless it runs; used at start, too, for what a crash left. */
  sweep(): void {
    if (this.#stop.signal.aborted) return;
    if (this.#sweeping !== undefined) {
      this.#again = true;
      return;
    }
    this.#sweeping = this.#sweep().finally(() => {
      this.#sweeping = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.sweep();
    });
  }

  /** Removes half-made directories of an earlier run. Only at start, before any `create`. */
  async recover(): Promise<void> {
    for (const name of await readdir(join(this.root, "snapshots"))) {
      if (name.startsWith(UNFINISHED)) await rename(join(this.root, "snapshots", name), this.#asideName());
    }
    this.sweep();
  }

  /** Stops the removal; what is left is removed at the next start. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#sweeping;
  }

  /** Resolves when nothing is being removed any more. */
  async settled(): Promise<void> {
    while (this.#sweeping !== undefined) await this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const dir = join(this.root, "snapshots");
    try {
      const found = (await readdir(dir)).filter((name) => name.startsWith(REMOVED));
      const names = found.length > FEW_TREES ? found : [];
      if (found.length <= FEW_TREES)
        for (const name of found) if (!(await removedHere(join(dir, name)))) names.push(name);
      // The names are the helper's argument: a few hundred at a time keep it short.
      for (let i = 0; i < names.length; i += 200) {
        const paths = names.slice(i, i + 200).map((name) => join(dir, name));
        await runJob(background.until(this.#stop.signal), { mode: "remove", paths });
      }
    } catch (err) {
      if (!this.#stop.signal.aborted) this.#log.warn("remove snapshot directories", { err });
    }
  }

  #asideName(): string {
    return join(this.root, "snapshots", `${REMOVED}${randomBytes(6).toString("hex")}`);
  }

  async #putAside(id: bigint): Promise<string | undefined> {
    const aside = this.#asideName();
    try {
      await rename(this.path(id), aside);
      return aside;
    } catch (err) {
      if (err instanceof Error && "code" in err && err.code === "ENOENT") return undefined;
      throw internal(`remove snapshot ${id}`, { cause: err });
    }
  }
}

/** Removes a small tree, such as that of a container which wrote little. @returns false when it is the helper's to do */
async function removedHere(path: string): Promise<boolean> {
  try {
    if ((await countUpTo(FEW_FILES, path)) > FEW_FILES) return false;
    await removeTree(path);
    return true;
  } catch {
    // the helper tells what is wrong
    return false;
  }
}

/** Files and folders below a folder; the count ends soon after `most`. */
async function countUpTo(most: number, path: string): Promise<number> {
  const folders = [path];
  let count = 0;
  for (let dir = folders.pop(); dir !== undefined && count <= most; dir = folders.pop()) {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      count += 1;
      if (entry.isDirectory()) folders.push(join(dir, entry.name));
    }
  }
  return count;
}
