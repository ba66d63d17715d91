/**
 * Blobs that another process keeps (a content proxy plugin in place of the local store): every blob is written there before it
 * counts, and what is known there need not be fetched. The folder holds copies, because helpers read and write files; a copy
 * that is missing is fetched again, with its digest checked.
 */
import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { chmod, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { background } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { dataLoss, isAlreadyExists, isNotFound } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Namespace } from "../../core/ids/namespace.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { formatRfc3339, nowNs } from "../../lib/time.ts";
import { BlobFiles } from "./blob-files.ts";
import { mapFsError } from "./fs-error.ts";

/** Who sees what is our own matter; a store that has namespaces keeps all of it in one. */
const call = background.in("default" as Namespace);
/** Bytes read at once. */
const CHUNK = 1 << 20;

/** See the head of this file. */
export class RemoteBlobFiles extends BlobFiles {
  readonly #remote: ContentStore;
  readonly #fetching = new KeyedMutex<Digest>();

  constructor(root: string, noSync: boolean, remote: ContentStore) {
    super(root, noSync);
    this.#remote = remote;
  }

  override async stat(digest: Digest): Promise<Stats | undefined> {
    const local = await super.stat(digest);
    if (local !== undefined || (await this.elsewhere(digest)) === undefined) return local;
    await this.ensure(digest);
    return await super.stat(digest);
  }

  override async elsewhere(digest: Digest): Promise<bigint | undefined> {
    try {
      return (await this.#remote.info(call, digest)).size;
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  override async ensure(digest: Digest): Promise<void> {
    if ((await super.stat(digest)) !== undefined) return;
    using _lock = await this.#fetching.acquire(digest);
    if ((await super.stat(digest)) !== undefined) return;
    const path = this.blob(digest);
    const part = join(this.root, "fetch", digest.replace(":", "-"));
    await mkdir(dirname(part), { recursive: true, mode: 0o700 });
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await using reader = await this.#remote.reader(call, digest);
    const file = await open(part, "w", 0o600);
    try {
      const hash = createHash("sha256");
      for await (const bytes of reader.stream()) {
        hash.update(bytes);
        await file.write(bytes);
      }
      const found = `sha256:${hash.digest("hex")}`;
      if (found !== digest) throw dataLoss(`content ${digest}: the content store gave bytes of ${found}`);
      await file.datasync();
    } catch (err) {
      await rm(part, { force: true });
      throw err instanceof Error && "syscall" in err ? mapFsError(err, `fetch content ${digest}`) : err;
    } finally {
      await file.close();
    }
    await chmod(part, 0o444);
    await rename(part, path);
  }

  override async promote(id: bigint, digest: Digest): Promise<void> {
    await this.#store(this.data(id), digest);
    await super.promote(id, digest);
  }

  override async remove(digest: Digest): Promise<void> {
    await this.#remote.delete(call, digest).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
    await super.remove(digest);
  }

  async #store(path: string, digest: Digest): Promise<void> {
    const size = BigInt((await stat(path)).size);
    try {
      await using writer = await this.#remote.writer(call, {
        ref: `gantry-${digest}`,
        size,
        expected: digest,
      });
      // what an earlier try left
      if (writer.status().offset > 0n) await writer.truncate(0n);
      for await (const bytes of createReadStream(path, { highWaterMark: CHUNK }))
        await writer.write(bytes as Uint8Array);
      const root = new Map([["containerd.io/gc.root", formatRfc3339(nowNs())]]);
      await writer.commit(size, digest, root);
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
  }
}
