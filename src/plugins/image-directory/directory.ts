/**
 * A folder of image archives, as K3s has one: what lies in it is in the store, and pinned. Archives are imported once and
 * again when they change; a file that is removed leaves its images, which are no longer pinned.
 */
import { type FSWatcher, watch } from "node:fs";
import { mkdir, open, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import type { Image, ImageStore } from "../../core/images/images.ts";
import type { Logger } from "../../core/log.ts";
import type { ImageTransfer } from "../../core/transfer/transfer.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { normalizeReference } from "../../oci/reference.ts";

/** Label that keeps Kubernetes' image garbage collection away. */
export const PIN_LABEL = "io.cri-containerd.pinned";
const PINNED = "pinned";

const ARCHIVE = /\.(tar|tar\.gz|tgz|tar\.zst|tar\.zstd|tzst|tar\.xz|txz|tar\.bz2|tbz|tbz2)$/;
const LIST = /\.txt$/;
/** Largest list of references, in bytes. */
const MAX_LIST = 1 << 20;
/** Bytes read at a time. */
const CHUNK = 1 << 20;

/** What a folder needs. */
export interface ImageDirectoryOptions {
  readonly path: string;
  /** Remembers what was imported. */
  readonly stateFile: string;
  readonly snapshotter: string;
  readonly transfer: ImageTransfer;
  readonly images: ImageStore;
  readonly log: Logger;
  /** A file that changed less than so many milliseconds ago is still being written. */
  readonly quietMs: number;
  /** The folder is looked at at least so often, in milliseconds: events get lost on some file systems. */
  readonly rescanMs: number;
}

/** One imported file. */
interface Entry {
  readonly size: number;
  readonly mtimeMs: number;
  /** Image names and their digests. */
  readonly images: Readonly<Record<string, string>>;
  /** It failed: not tried again before it changes or the daemon starts anew. Never written to disk. */
  readonly failed?: boolean;
}

/** See the file's comment. */
export class ImageDirectory {
  readonly #o: ImageDirectoryOptions;
  readonly #files = new Map<string, Entry>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wake = createDeferred<void>();
  #first = true;

  constructor(options: ImageDirectoryOptions) {
    this.#o = options;
  }

  /** Imports and watches until the call ends. Never rejects. */
  async run(call: NamespacedCall): Promise<void> {
    const { path, log } = this.#o;
    const wake = (): void => this.#wake.resolve();
    call.signal.addEventListener("abort", wake, { once: true });
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
      await this.#load();
      // Before the first look: what comes while it lasts is seen by the next one.
      this.#watcher = watch(path, { persistent: false }, wake);
      this.#watcher.on("error", (err) => log.warn("image folder is no longer watched", { path, err }));
      while (!call.signal.aborted) {
        this.#wake = createDeferred<void>();
        const waitMs = await this.scan(call);
        this.#timer = setTimeout(wake, waitMs);
        this.#timer.unref();
        if (!call.signal.aborted) await this.#wake.promise;
        clearTimeout(this.#timer);
      }
    } catch (err) {
      if (!call.signal.aborted) log.error("image folder cannot be used", { path, err });
    } finally {
      call.signal.removeEventListener("abort", wake);
      this.#watcher?.close();
      clearTimeout(this.#timer);
    }
  }

  /** One look at the folder. @returns milliseconds until the next one is due */
  async scan(call: NamespacedCall): Promise<number> {
    const { path, log, quietMs, rescanMs } = this.#o;
    let waitMs = rescanMs;
    const names = await readdir(path);
    const first = this.#first;
    this.#first = false;
    for (const name of names.sort()) {
      if (call.signal.aborted) return waitMs;
      if (!ARCHIVE.test(name) && !LIST.test(name)) {
        if (first) log.warn("file in the image folder is no image archive", { file: join(path, name) });
        continue;
      }
      const facts = await stat(join(path, name)).catch(() => undefined);
      if (facts?.isFile() !== true) continue;
      const known = this.#files.get(name);
      if (known !== undefined && known.size === facts.size && known.mtimeMs === facts.mtimeMs) {
        if (known.failed === true && !(LIST.test(name) && !first)) continue;
        if (known.failed !== true && (!first || (await this.#present(call, known)))) continue;
      }
      const age = Date.now() - facts.mtimeMs;
      if (age >= 0 && age < quietMs) {
        waitMs = Math.min(waitMs, quietMs - age);
        continue;
      }
      await this.#take(call, name, facts.size, facts.mtimeMs);
    }
    for (const name of [...this.#files.keys()])
      if (!names.includes(name)) {
        await this.#forget(call, name, undefined);
        log.info("file left the image folder: its images stay, no longer pinned", { file: join(path, name) });
      }
    return waitMs;
  }

  async #take(call: NamespacedCall, name: string, size: number, mtimeMs: number): Promise<void> {
    const { path, log } = this.#o;
    const file = join(path, name);
    const started = performance.now();
    try {
      const images = LIST.test(name) ? await this.#pullList(call, file) : await this.#import(call, file);
      const entry = {
        size,
        mtimeMs,
        images: Object.fromEntries(images.map((i) => [i.name, i.target.digest])),
      };
      await this.#forget(call, name, entry);
      const ms = Math.round(performance.now() - started);
      if (images.length === 0) log.warn("file in the image folder names no image", { file });
      else log.info("images imported", { file, images: Object.keys(entry.images), ms });
    } catch (err) {
      if (call.signal.aborted) return;
      // What an earlier version of the file brought stays as it is.
      const images = this.#files.get(name)?.images ?? {};
      this.#files.set(name, { size, mtimeMs, images, failed: true });
      log.error(`file in the image folder was not imported: ${messageOf(err)}`, { file, err });
    }
  }

  async #import(call: NamespacedCall, file: string): Promise<readonly Image[]> {
    const { transfer, snapshotter } = this.#o;
    await using handle = await open(file, "r");
    const stream = handle.createReadStream({ highWaterMark: CHUNK, autoClose: false });
    const labels = new Map([[PIN_LABEL, PINNED]]);
    return await transfer.importArchive(call, stream as AsyncIterable<Uint8Array>, { labels, snapshotter });
  }

  /** A list of references: one each line, `#` begins a comment. */
  async #pullList(call: NamespacedCall, file: string): Promise<readonly Image[]> {
    const { transfer, snapshotter, images } = this.#o;
    if ((await stat(file)).size > MAX_LIST) throw new Error(`larger than ${MAX_LIST} bytes`);
    const lines = (await readFile(file, "utf8"))
      .split("\n")
      .map((line) => line.replace(/#.*/, "").trim())
      .filter((line) => line !== "");
    const out: Image[] = [];
    for (const line of lines) {
      const reference = normalizeReference(line);
      const there = await images.get(call, reference).catch(() => undefined);
      const labels = new Map([[PIN_LABEL, PINNED]]);
      if (there !== undefined)
        out.push(await images.update(call, { ...there, labels }, [`labels.${PIN_LABEL}`]));
      else out.push((await transfer.pull(call, { reference, labels, snapshotter })).image);
    }
    return out;
  }

  /** True when every image of the file is there as it was, and pinned. */
  async #present(call: NamespacedCall, entry: Entry): Promise<boolean> {
    for (const [name, digest] of Object.entries(entry.images)) {
      const image = await this.#o.images.get(call, name).catch(() => undefined);
      if (image?.target.digest !== digest || image.labels.get(PIN_LABEL) !== PINNED) return false;
    }
    return true;
  }

  /** Replaces what is known of a file; images that no file brings any more lose their pin. */
  async #forget(call: NamespacedCall, name: string, next: Entry | undefined): Promise<void> {
    const before = this.#files.get(name)?.images ?? {};
    if (next === undefined) this.#files.delete(name);
    else this.#files.set(name, next);
    const still = new Set([...this.#files.values()].flatMap((entry) => Object.keys(entry.images)));
    for (const image of Object.keys(before)) if (!still.has(image)) await this.#unpin(call, image);
    await this.#save();
  }

  async #unpin(call: NamespacedCall, name: string): Promise<void> {
    const { images, log } = this.#o;
    try {
      const image = await images.get(call, name);
      if (image.labels.get(PIN_LABEL) === PINNED)
        await images.update(call, { ...image, labels: new Map() }, [`labels.${PIN_LABEL}`]);
    } catch (err) {
      if (!isNotFound(err)) log.warn("image could not be unpinned", { image: name, err });
    }
  }

  async #load(): Promise<void> {
    try {
      const doc: unknown = JSON.parse(await readFile(this.#o.stateFile, "utf8"));
      for (const [name, value] of Object.entries((doc as { files?: object }).files ?? {})) {
        const entry = value as Partial<Entry> | null;
        if (typeof entry?.size !== "number" || typeof entry.mtimeMs !== "number") continue;
        const images = Object.entries(entry.images ?? {}).filter(([, digest]) => typeof digest === "string");
        this.#files.set(name, {
          size: entry.size,
          mtimeMs: entry.mtimeMs,
          images: Object.fromEntries(images),
        });
      }
    } catch (err) {
      if (err instanceof Error && "code" in err && err.code === "ENOENT") return;
      this.#o.log.warn("list of imported files is unreadable: everything is imported again", { err });
      this.#files.clear();
    }
  }

  async #save(): Promise<void> {
    const { stateFile } = this.#o;
    const good = [...this.#files].filter(([, entry]) => entry.failed !== true);
    await mkdir(dirname(stateFile), { recursive: true, mode: 0o700 });
    const part = `${stateFile}.part`;
    await writeFile(part, `${JSON.stringify({ version: 1, files: Object.fromEntries(good) }, null, 2)}\n`);
    await rename(part, stateFile);
  }
}
