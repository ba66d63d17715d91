/** Images of CRI: pulls, removals, and an index in memory that follows the image store, whoever changes it. */
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, isAlreadyExists, isNotFound, messageOf, wrap } from "../../core/errors.ts";
import type { Image } from "../../core/images/images.ts";
import type { Counter, Gauge, MetricRegistry, Timer } from "../../core/metrics/metrics.ts";
import type { Descriptor } from "../../core/oci.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { sleep } from "../../lib/retry.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { MAX_CONFIG } from "../../oci/documents.ts";
import { parseReference } from "../../oci/reference.ts";
import type { CriDeps } from "../deps.ts";
import type { CriImage, CriImages } from "../model.ts";
import { ImageIndex, type IndexedImage, recordName } from "./image-index.ts";
import { imageLabels, PINNED } from "./labels.ts";
import { loadImage, readBlob } from "./load.ts";
import { PullWatchdog } from "./watchdog.ts";

/** Credentials of a request: `username` and `password`, `auth`, `identitytoken` or `registrytoken`. */
export type PullAuth = Readonly<Record<string, string>>;

/** What a pull for CRI is asked for. */
export interface CriPull {
  /** As the user wrote it. */
  readonly reference: string;
  readonly auth?: PullAuth | undefined;
  /** Default: that of the configuration. */
  readonly snapshotter?: string | undefined;
}

/** What the services ask of images, besides what pods and containers need. */
export interface CriImageService extends CriImages {
  list(): IndexedImage[];
  /** Makes the index tell what the store has under this name now; its events do that a moment later. */
  update(name: string, adopt: boolean): Promise<void>;
  /** By reference, id, or unambiguous prefix of an id. @throws not-found */
  find(text: string): IndexedImage;
  /** The config document as it is stored, for verbose status. */
  configText(image: IndexedImage): Promise<string>;
  /**
   * Pulls and unpacks; makes records by tag, by digest and by id.
   * @returns the id
   */
  pullImage(call: NamespacedCall, request: CriPull): Promise<string>;
  /** Removes every record of an image, the last one with garbage collection. Nothing there is fine. */
  remove(call: NamespacedCall, reference: string): Promise<void>;
}

/** The default of `max_concurrent_downloads`; with it the transfer plugin's own limit counts, as in containerd. */
const STANDARD_DOWNLOADS = 3;

const MIB = 1 << 20;

/** How long until the store's events are listened to again after that failed. Milliseconds. */
const RETRY_MS = 1_000;

/** See the file's comment. */
export class ImageService implements CriImageService {
  readonly #deps: CriDeps;
  readonly #index = new ImageIndex();
  /** One at a time for each record. */
  readonly #locks = new KeyedMutex();
  readonly #pinned: ReadonlySet<string>;
  /** Of all pulls together, when the configuration says how many. */
  readonly #downloads: Semaphore | undefined;
  #underWay = 0;
  readonly #imageOf: (event: AnyValue) => string | undefined;

  readonly #pulls: Counter;
  readonly #pulling: Gauge;
  readonly #throughput: Timer;

  /** @param imageOf name of the record that an event of the image store is about */
  constructor(deps: CriDeps, metrics: MetricRegistry, imageOf: (event: AnyValue) => string | undefined) {
    this.#pulls = metrics.counter("containerd_cri_image_pulls_total", "ended pulls", "status");
    this.#pulling = metrics.gauge("containerd_cri_in_progress_image_pulls_total", "pulls under way");
    this.#pulling.set(0);
    this.#throughput = metrics.histogram(
      "containerd_cri_image_pulling_throughput",
      "image pull throughput, MiB of the image per second",
    );
    this.#deps = deps;
    this.#imageOf = imageOf;
    const { maxConcurrentDownloads: most } = deps.imagesConfig;
    this.#downloads = most > 0 && most !== STANDARD_DOWNLOADS ? new Semaphore(most) : undefined;
    this.#pinned = new Set([...deps.imagesConfig.pinnedImages.values()].flatMap(tryName));
  }

  /** Reads every record; then follows the store's events for as long as the daemon lives. */
  async start(): Promise<void> {
    const { call, log, events } = this.#deps;
    const follow = async (): Promise<void> => {
      const namespace = call.namespace as string;
      for await (const { topic, event, namespace: where } of events.subscribe(call, ['topic~="^/images/"'])) {
        if (where !== namespace) continue;
        const name = this.#imageOf(event);
        if (name === undefined) continue;
        await this.update(name, topic !== "/images/delete").catch((err: unknown) =>
          log.warn("image is not in CRI's index", { image: name, err }),
        );
      }
    };
    const keepFollowing = async (): Promise<void> => {
      for (let first = true; !call.signal.aborted; first = false) {
        try {
          const following = follow();
          // what happened while nobody listened
          if (!first) await this.#reload();
          await following;
        } catch (err) {
          if (call.signal.aborted) return;
          log.warn("CRI lost the events of the image store", { err });
          await sleep(RETRY_MS, call.signal).catch(() => {});
        }
      }
    };
    void keepFollowing();
    await this.#reload();
  }

  async #reload(): Promise<void> {
    const { call, log, metadata } = this.#deps;
    const images = await metadata.images.list(call, []);
    const names = new Set(images.map((i) => i.name));
    for (const reference of this.#index.references())
      if (!names.has(reference)) this.#index.delete(reference);
    await Promise.all(
      images.map((image) =>
        this.update(image.name, true).catch((err: unknown) =>
          log.warn("image is not in CRI's index", { image: image.name, err: messageOf(err) }),
        ),
      ),
    );
  }

  /**
   * Makes the index tell what the store has under this name. A record that others made is labelled and gets a twin named by
   * the image's id.
   */
  async update(name: string, adopt: boolean): Promise<void> {
    const { call, metadata } = this.#deps;
    using _lock = await this.#locks.acquire(name);
    let image: Image;
    try {
      image = await metadata.images.get(call, name);
    } catch (err) {
      if (!isNotFound(err)) throw err;
      this.#index.delete(name);
      return;
    }
    let loaded: Awaited<ReturnType<typeof loadImage>>;
    try {
      loaded = await loadImage(metadata.content, call, image);
    } catch (err) {
      // its content is gone or not for this machine: not an image that can be used
      this.#index.delete(name);
      throw err;
    }
    const labels = imageLabels(this.#pinned.has(name));
    if (adopt && [...labels].some(([key, value]) => image.labels.get(key) !== value)) {
      await this.#record(loaded.id, image.target, labels);
      await this.#record(name, image.target, labels);
      this.#index.set(loaded.id, { ...loaded, pinned: labels.has(PINNED.key) });
      loaded = { ...loaded, pinned: loaded.pinned || labels.has(PINNED.key) };
    }
    this.#index.set(name, loaded);
  }

  /** Creates a record or points it here; labels that are not ours stay. */
  async #record(name: string, target: Descriptor, labels: ReadonlyMap<string, string>): Promise<void> {
    const { call, metadata } = this.#deps;
    const input = { name, labels, target };
    try {
      await metadata.images.create(call, input);
      return;
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
    const old = await metadata.images.get(call, name);
    const fields = [...labels].filter(([k, v]) => old.labels.get(k) !== v).map(([k]) => `labels.${k}`);
    if (old.target.digest !== target.digest) fields.push("target");
    if (fields.length > 0) await metadata.images.update(call, input, fields);
  }

  list(): IndexedImage[] {
    return this.#index.list();
  }

  find(text: string): IndexedImage {
    return this.#index.resolve(text);
  }

  async configText(image: IndexedImage): Promise<string> {
    const { call, metadata } = this.#deps;
    return new TextDecoder().decode(
      await readBlob(metadata.content, call, image.manifest.config.digest, MAX_CONFIG),
    );
  }

  async resolve(_call: NamespacedCall, reference: string): Promise<CriImage> {
    const { config, chainId, ...image } = this.#index.resolve(reference);
    if (config === undefined || chainId === undefined)
      throw failedPrecondition(`image "${reference}": has nothing to run, it is an artifact`);
    return { ...image, config, chainId };
  }

  async pull(call: NamespacedCall, reference: string, snapshotter: string): Promise<CriImage> {
    const id = await this.pullImage(call, { reference, snapshotter });
    return await this.resolve(call, id);
  }

  async unpack(call: NamespacedCall, image: CriImage, snapshotter: string): Promise<void> {
    const { metadata, transfer } = this.#deps;
    try {
      await metadata.snapshotter(snapshotter).stat(call, image.chainId);
      return;
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    const name = image.references[0] ?? image.id;
    const annotate = !this.#deps.imagesConfig.disableSnapshotAnnotations;
    await transfer.unpack(call, { name, snapshotter, annotate });
  }

  async pullImage(call: NamespacedCall, request: CriPull): Promise<string> {
    this.#pulling.set(++this.#underWay);
    try {
      const start = performance.now();
      const id = await this.#pull(call, request);
      // somebody may have removed it already
      const size = this.#index.list().find((image) => image.id === id)?.size;
      if (size !== undefined)
        this.#throughput.observe(Number(size) / MIB / ((performance.now() - start) / 1000));
      this.#pulls.add(1, "success");
      return id;
    } catch (err) {
      this.#pulls.add(1, "failure");
      throw err;
    } finally {
      this.#pulling.set(--this.#underWay);
    }
  }

  async #pull(call: NamespacedCall, request: CriPull): Promise<string> {
    const { imagesConfig: config, transfer } = this.#deps;
    const name = recordName(request.reference);
    const labels = imageLabels(this.#pinned.has(name));
    using dog = new PullWatchdog(name, config.imagePullProgressTimeout);
    const outcome = await transfer
      .pull(call.until(dog.signal), {
        reference: name,
        labels,
        snapshotter: request.snapshotter ?? config.snapshotter,
        auth: request.auth,
        annotate: !config.disableSnapshotAnnotations,
        discardUnpackedLayers: config.discardUnpackedLayers,
        syncFs: config.imagePullWithSyncFs,
        downloads: this.#downloads,
        progress: dog.note,
      })
      .catch((err: unknown) => {
        throw wrap(err, `failed to pull and unpack image "${name}"`);
      });
    const { target } = outcome.image;
    const { id } = await loadImage(this.#deps.metadata.content, this.#deps.call, outcome.image);
    const { locator, digest } = parseReference(name);
    for (const record of [id, name, ...(digest === undefined ? [`${locator}@${target.digest}`] : [])]) {
      await this.#record(record, target, labels);
      await this.update(record, false);
    }
    return id;
  }

  async remove(call: NamespacedCall, reference: string): Promise<void> {
    const { metadata } = this.#deps;
    let image: IndexedImage;
    try {
      image = this.#index.resolve(reference);
    } catch (err) {
      if (isNotFound(err)) return;
      throw err;
    }
    const last = image.references.length - 1;
    for (const [i, name] of image.references.entries()) {
      await metadata.images.delete(call, name, { sync: i === last }).catch((err: unknown) => {
        if (!isNotFound(err)) throw wrap(err, `failed to delete image reference "${name}" for "${image.id}"`);
      });
      await this.update(name, false);
    }
  }
}

function tryName(text: string): string[] {
  try {
    return [text, recordName(text)];
  } catch {
    return [text];
  }
}

/** Makes the service; nothing is read yet. */
export function createImages(deps: CriDeps, metrics: MetricRegistry): ImageService {
  return new ImageService(deps, metrics, (event) => deps.codec.imageEvent(event));
}
