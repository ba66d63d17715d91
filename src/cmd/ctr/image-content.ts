/**
 * The blobs of images as `ctr` shows them: sizes, platforms, what is there. Documents are read once per command however many
 * images share them. Sizes and platforms follow containerd's rules, so that columns are equal.
 */
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { isNotFound, notFound } from "../../core/errors.ts";
import { type Digest, parseDigest } from "../../core/ids/digest.ts";
import type { Descriptor, Platform } from "../../core/oci.ts";
import { isConfigType, isIndexType, isManifestType } from "../../oci/media-types.ts";
import { hostPlatform, matchOnly, normalizePlatform, type PlatformMatcher } from "../../oci/platform.ts";
import { readJson } from "./image-config.ts";

/** Deepest nesting of indexes. */
const MAX_DEPTH = 8;

type Json = Record<string, unknown>;

/** Reads documents of one daemon. */
export class ImageContent {
  readonly #store: ContentStore;
  readonly #call: NamespacedCall;
  readonly #docs = new Map<Digest, Promise<Json>>();
  readonly #host: PlatformMatcher;

  constructor(store: ContentStore, call: NamespacedCall, platform: Platform = hostPlatform()) {
    this.#store = store;
    this.#call = call;
    this.#host = matchOnly(platform);
  }

  /** A JSON blob, its digest checked. @throws not-found, data-loss */
  read(digest: Digest): Promise<Json> {
    let doc = this.#docs.get(digest);
    if (doc === undefined) {
      doc = readJson(this.#store, this.#call, digest);
      this.#docs.set(digest, doc);
    }
    return doc;
  }

  /** Descriptors a manifest or index points at; config first. Empty for anything else. @throws not-found, data-loss */
  async children(desc: Descriptor): Promise<Descriptor[]> {
    if (isIndexType(desc.mediaType)) return list((await this.read(desc.digest))["manifests"]).map(descriptor);
    if (!isManifestType(desc.mediaType)) return [];
    const doc = await this.read(desc.digest);
    return [descriptor(doc["config"]), ...list(doc["layers"]).map(descriptor)];
  }

  /** Bytes of the image for this machine: index, manifest, config and layers as their descriptors say. @throws not-found */
  async size(target: Descriptor): Promise<bigint> {
    let size = target.size;
    if (isIndexType(target.mediaType)) return size + (await this.size(await this.#best(target)));
    for (const child of await this.children(target)) size += child.size;
    return size;
  }

  /** The manifest of an index that fits this machine best. @throws not-found */
  async #best(index: Descriptor): Promise<Descriptor> {
    const fit = (await this.children(index)).filter(
      (d) => d.platform === undefined || this.#host.match(d.platform),
    );
    const [best] = fit.sort((a, b) => {
      if (a.platform === undefined || b.platform === undefined)
        return Number(a.platform === undefined) - Number(b.platform === undefined);
      return this.#host.compare(a.platform, b.platform);
    });
    if (best === undefined) throw notFound(`manifest of ${index.digest} for this platform`);
    return best;
  }

  /** What the image was built for, as its index or its config says. @throws not-found */
  async platforms(target: Descriptor, depth = 0): Promise<Platform[]> {
    const own = target.platform;
    if (own !== undefined) return own.os === "unknown" || own.architecture === "unknown" ? [] : [own];
    if (isConfigType(target.mediaType))
      return [normalizePlatform(platform(await this.read(target.digest)) ?? { os: "", architecture: "" })];
    if (depth > MAX_DEPTH) return [];
    const found = await Promise.all((await this.children(target)).map((c) => this.platforms(c, depth + 1)));
    return found.flat();
  }

  /** Config and layers the image needs here, and which of them are stored. `undefined`: not even a manifest is. */
  async check(target: Descriptor): Promise<{ required: Descriptor[]; present: Descriptor[] } | undefined> {
    let required: Descriptor[];
    try {
      const manifest = await this.manifest(target);
      required = await this.children(manifest);
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
    const there = await Promise.all(required.map((d) => this.stored(d.digest)));
    return { required, present: required.filter((_d, i) => there[i]) };
  }

  /** The manifest for this machine. @throws not-found */
  async manifest(target: Descriptor): Promise<Descriptor> {
    return isIndexType(target.mediaType) ? this.manifest(await this.#best(target)) : target;
  }

  /** Whether the blob is in the namespace. */
  async stored(digest: Digest): Promise<boolean> {
    try {
      await this.#store.info(this.#call, digest);
      return true;
    } catch (err) {
      if (isNotFound(err)) return false;
      throw err;
    }
  }
}

function descriptor(value: unknown): Descriptor {
  const d = record(value);
  const own = platform(d["platform"]);
  return {
    mediaType: text(d["mediaType"]),
    digest: parseDigest(text(d["digest"])),
    size: BigInt(Number(d["size"] ?? 0)),
    ...(own === undefined ? {} : { platform: own }),
  };
}

function platform(value: unknown): Platform | undefined {
  if (value === undefined || value === null) return undefined;
  const p = record(value);
  const variant = text(p["variant"]);
  return {
    os: text(p["os"]),
    architecture: text(p["architecture"]),
    ...(variant === "" ? {} : { variant }),
  };
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
