/**
 * Files of the content store: `blobs/<alg>/<hex>` and `ingest/<id>/data`, as containerd lays them out. Which of them mean
 * something is in the database; rows are written after the file they name and deleted before it.
 */
import type { Stats } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { algorithmOf, type Digest, hexOf } from "../../core/ids/digest.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { syncDir } from "../../platform/fs/atomic-write.ts";
import { CachedFolder } from "../../platform/fs/cached-file.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { mapFsError } from "./fs-error.ts";
import { GroupSync } from "./group-sync.ts";

/** See the head of this file. */
export class BlobFiles {
  readonly root: string;
  readonly #noSync: boolean;
  readonly #folders = new Map<string, GroupSync>();
  /** Held while a blob's file and the rows that name it must agree. */
  readonly locks = new KeyedMutex<Digest>();
  /** Manifests and configs, read by every client before anything else, are mostly in memory. */
  readonly cached: CachedFolder;

  constructor(root: string, noSync: boolean) {
    this.root = root;
    this.cached = new CachedFolder(root);
    this.#noSync = noSync;
  }

  /** Path of a blob. */
  blob(digest: Digest): string {
    return join(this.root, "blobs", algorithmOf(digest), hexOf(digest));
  }

  /** Folder of an ingest. */
  ingest(id: bigint): string {
    return join(this.root, "ingest", String(id));
  }

  /** Data file of an ingest. */
  data(id: bigint): string {
    return join(this.ingest(id), "data");
  }

  /** Size and times of a blob's file, undefined when it is missing. */
  async stat(digest: Digest): Promise<Stats | undefined> {
    return await orUndefined(stat(this.blob(digest)));
  }

  /** Size of a blob that another process keeps, see remote-blobs.ts; undefined when there is none. */
  async elsewhere(_digest: Digest): Promise<bigint | undefined> {
    return undefined;
  }

  /** Brings a blob's bytes to its path when another process keeps them. */
  async ensure(_digest: Digest): Promise<void> {}

  /** Bytes in an ingest's data file, 0 when there is none. */
  async ingestSize(id: bigint): Promise<number> {
    return (await orUndefined(stat(this.data(id))))?.size ?? 0;
  }

  /** Makes an empty ingest, removing what an earlier one of this number left. */
  async makeIngest(id: bigint): Promise<void> {
    await this.removeIngest(id);
    await mkdir(this.ingest(id), { recursive: true, mode: 0o700 }).catch((err: unknown) => {
      throw mapFsError(err, "make ingest");
    });
  }

  /** Removes an ingest's files; missing is fine. */
  async removeIngest(id: bigint): Promise<void> {
    await rm(this.ingest(id), { recursive: true, force: true });
  }

  /** Turns an ingest's data into the blob `digest`: durable when it resolves. Hold the blob's lock. */
  async promote(id: bigint, digest: Digest): Promise<void> {
    await this.#promote(id, digest).catch((err: unknown) => {
      throw mapFsError(err, `store blob ${digest}`);
    });
  }

  async #promote(id: bigint, digest: Digest): Promise<void> {
    const from = this.data(id);
    if (!this.#noSync) {
      const file = await open(from, "r");
      try {
        await file.datasync();
      } finally {
        await file.close();
      }
    }
    await chmod(from, 0o444);
    const folder = join(this.root, "blobs", algorithmOf(digest));
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // replaces a file that is there already: it holds the same bytes or is damaged
    await rename(from, this.blob(digest));
    if (!this.#noSync) await this.#syncFolder(folder);
    await this.removeIngest(id);
  }

  /** Removes a blob's file; missing is fine. Hold the blob's lock. */
  async remove(digest: Digest): Promise<void> {
    await orUndefined(unlink(this.blob(digest)));
  }

  /** Digests (as text, not checked) of all blob files. */
  async list(): Promise<string[]> {
    const out: string[] = [];
    for (const algorithm of await names(join(this.root, "blobs"))) {
      for (const hex of await names(join(this.root, "blobs", algorithm))) out.push(`${algorithm}:${hex}`);
    }
    return out;
  }

  /** Names of all ingest folders. */
  async listIngests(): Promise<string[]> {
    return await names(join(this.root, "ingest"));
  }

  #syncFolder(path: string): Promise<void> {
    let group = this.#folders.get(path);
    if (group === undefined) {
      group = new GroupSync(() => syncDir(path));
      this.#folders.set(path, group);
    }
    return group.wait();
  }
}

async function names(folder: string): Promise<string[]> {
  return (await orUndefined(readdir(folder))) ?? [];
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (err) {
    if (isErrno(err, "ENOENT")) return undefined;
    throw err;
  }
}
