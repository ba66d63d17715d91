/** Import: from an archive stream into the stores. OCI layouts and docker-save archives, plain or compressed. */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isNotFound } from "../../core/errors.ts";
import { type Digest, parseDigest } from "../../core/ids/digest.ts";
import type { Image } from "../../core/images/images.ts";
import type { Descriptor } from "../../core/oci.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { describe, descriptorToJson } from "../../oci/descriptors.ts";
import {
  isImageManifest,
  MAX_ARCHIVE_JSON,
  type Manifest,
  parseDockerArchive,
  parseLayoutIndex,
} from "../../oci/documents.ts";
import { isIndexType, isLayerType, isManifestType, OCI_INDEX } from "../../oci/media-types.ts";
import { hostPlatform, matchAll, matchOnly, type PlatformMatcher } from "../../oci/platform.ts";
import { openArchive } from "./archive/decompress.ts";
import { dockerManifests } from "./archive/docker-save.ts";
import { ingestEntry, readEntry, type StoredFile } from "./archive/ingest.ts";
import { importNaming, type Naming } from "./archive/naming.ts";
import { cleanPath, readTar, type TarEntry } from "./archive/tar-reader.ts";
import { addLabels, findBlob, storeBytes } from "./blobs.ts";
import { type OnProgress, type TransferContext, withLease } from "./context.ts";
import { childLabels, MAX_DEPTH, noMatch, readConfig, readManifest, selectManifests } from "./graph.ts";
import { unpackImage } from "./layers.ts";
import { ProgressTracker } from "./progress.ts";
import { labelConfig, recordImage, type UnpackTarget } from "./pull.ts";
import { releaseLayers } from "./refetch.ts";
import { nowhere } from "./sources.ts";

/** Options of {@link importArchive}. */
export interface ImportOptions {
  readonly naming?: Naming | undefined;
  /** Name for the whole index of the archive. */
  readonly indexName?: string | undefined;
  readonly labels?: Labels | undefined;
  readonly matcher?: PlatformMatcher | undefined;
  readonly allPlatforms?: boolean | undefined;
  /** Compress plain layers of docker-save archives. */
  readonly compress?: boolean | undefined;
  readonly unpack?: readonly UnpackTarget[] | undefined;
  /** Let go of layer blobs once they are unpacked. */
  readonly discardUnpacked?: boolean | undefined;
  readonly progress?: OnProgress | undefined;
}

/**
 * Imports every image of an archive.
 * @returns the image records, in the archive's order
 * @throws invalid-argument for what is no image archive, failed-precondition for wrong digests
 */
export async function importArchive(
  ctx: TransferContext,
  call: NamespacedCall,
  stream: AsyncIterable<Uint8Array>,
  o: ImportOptions = {},
): Promise<Image[]> {
  const progress = new ProgressTracker(o.progress ?? (() => {}), "", "importing");
  progress.note("Importing");
  return withLease(ctx, call, async (leased) => {
    const found = await readArchive(ctx, leased, stream, o.compress === true, progress);
    const run = new ImportRun(ctx, leased, o, progress);
    const images = await run.go(found.manifests, found.index);
    progress.note("Completed import");
    return images;
  });
}

/** What an archive holds, stored. */
interface ArchiveIndex {
  readonly manifests: readonly Descriptor[];
  /** The index document as it stood in the archive (or as made from manifest.json). */
  readonly index: Uint8Array;
}

async function readArchive(
  ctx: TransferContext,
  call: NamespacedCall,
  stream: AsyncIterable<Uint8Array>,
  compress: boolean,
  progress: ProgressTracker,
): Promise<ArchiveIndex> {
  const input = await openArchive(stream);
  const files = new Map<string, StoredFile>();
  const links = new Map<string, string>();
  let layout = false;
  let index: Uint8Array | undefined;
  let docker: Uint8Array | undefined;
  try {
    for await (const entry of readTar(input)) {
      call.check();
      if (entry.kind === "symlink") links.set(entry.name, cleanPath(`${entry.name}/../${entry.linkname}`));
      if (entry.kind === "hardlink") links.set(entry.name, cleanPath(entry.linkname));
      if (entry.kind !== "file") continue;
      if (entry.name === "oci-layout") layout = (await readEntry(entry, 4096)).byteLength > 0;
      else if (entry.name === "index.json") index = await readEntry(entry, MAX_ARCHIVE_JSON);
      else if (entry.name === "manifest.json") docker = await readEntry(entry, MAX_ARCHIVE_JSON);
      else if (wanted(entry)) files.set(entry.name, await ingest(ctx, call, entry, progress));
    }
  } finally {
    // an archive that was read, or refused, is done with
    await input.close().catch(() => {});
  }
  if (layout && index !== undefined) {
    const { manifests } = await parseLayoutIndex(index);
    return { manifests, index };
  }
  if (docker === undefined)
    throw invalidArgument("unrecognized image format", {
      hint: "want an OCI layout (oci-layout, index.json) or an archive of docker save (manifest.json)",
    });
  const images = await parseDockerArchive(docker);
  const manifests = await dockerManifests(ctx, call, images, { files, links }, compress);
  return { manifests, index: indexJson(manifests) };
}

function indexJson(manifests: readonly Descriptor[]): Uint8Array {
  const json = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: manifests.map(descriptorToJson) };
  return new TextEncoder().encode(JSON.stringify(json));
}

/** Files of old docker-save archives that no manifest names. */
function wanted(entry: TarEntry): boolean {
  const base = entry.name.slice(entry.name.lastIndexOf("/") + 1);
  return base !== "VERSION" && base !== "json" && entry.name !== "repositories";
}

async function ingest(
  ctx: TransferContext,
  call: NamespacedCall,
  entry: TarEntry,
  progress: ProgressTracker,
): Promise<StoredFile> {
  const expected = digestOfPath(entry.name);
  const shown = expected ?? (entry.name as Digest);
  const desc: Descriptor = { mediaType: "", digest: shown, size: BigInt(entry.size) };
  const file = await ingestEntry(ctx, call, {
    entry,
    expected,
    onBytes: (done) => progress.bytes(desc, done),
  });
  progress.step(desc, "complete");
  return file;
}

/** `blobs/sha256/HEX` tells its digest. @throws invalid-argument for a malformed one */
function digestOfPath(path: string): Digest | undefined {
  const match = /^blobs\/([^/]+)\/([^/]+)$/.exec(path);
  return match === null ? undefined : parseDigest(`${match[1]}:${match[2]}`);
}

class ImportRun {
  readonly #ctx: TransferContext;
  readonly #call: NamespacedCall;
  readonly #o: ImportOptions;
  readonly #progress: ProgressTracker;
  readonly #matcher: PlatformMatcher;
  readonly #downloads: Semaphore;
  readonly #done = new Set<Digest>();

  constructor(ctx: TransferContext, call: NamespacedCall, o: ImportOptions, progress: ProgressTracker) {
    this.#ctx = ctx;
    this.#call = call;
    this.#o = o;
    this.#progress = progress;
    this.#matcher = o.allPlatforms ? matchAll : (o.matcher ?? matchOnly(hostPlatform()));
    this.#downloads = new Semaphore(ctx.limits.downloads);
  }

  async go(manifests: readonly Descriptor[], index: Uint8Array): Promise<Image[]> {
    const naming = this.#o.naming ?? importNaming({});
    const names = new Map<string, Descriptor>();
    for (const desc of manifests) {
      if (!isManifestType(desc.mediaType) && !isIndexType(desc.mediaType)) continue;
      for (const gate of this.#ctx.gates)
        await gate.check(this.#call, naming.name(desc.annotations ?? new Map()), desc);
      await this.#tree(desc, 0, desc.annotations?.get("io.containerd.image.name") ?? desc.digest);
      const name = naming.name(desc.annotations ?? new Map());
      if (name !== "") names.set(name, desc);
      const byDigest = naming.digest?.(desc.digest, name !== "") ?? "";
      if (byDigest !== "") names.set(byDigest, desc);
    }
    if (this.#o.indexName !== undefined && this.#o.indexName !== "") {
      const desc = await this.#storeIndex(manifests, index);
      names.set(this.#o.indexName, desc);
    }
    const out: Image[] = [];
    for (const [name, desc] of names) {
      const image = await recordImage(this.#ctx, this.#call, name, bare(desc), this.#o.labels ?? new Map());
      this.#progress.note("saved", name, desc);
      out.push(image);
    }
    return out;
  }

  async #storeIndex(manifests: readonly Descriptor[], index: Uint8Array): Promise<Descriptor> {
    const desc = describe(OCI_INDEX, index);
    const labels = childLabels({ kind: "index", mediaType: OCI_INDEX, manifests, annotations: new Map() });
    await storeBytes(this.#ctx, this.#call, desc, index, labels);
    return desc;
  }

  /** Labels a graph and unpacks what fits. Platforms that the archive leaves out are no error. */
  async #tree(desc: Descriptor, depth: number, name: string): Promise<boolean> {
    if (depth > MAX_DEPTH) throw invalidArgument(`index ${desc.digest}: nested deeper than ${MAX_DEPTH}`);
    const doc = await readManifest(this.#ctx, this.#call, desc);
    if (!this.#done.has(desc.digest)) {
      const info = await findBlob(this.#ctx, this.#call, desc.digest);
      if (info !== undefined) await addLabels(this.#ctx, this.#call, info, childLabels(doc));
      this.#done.add(desc.digest);
    }
    if (doc.kind === "manifest") return this.#take(desc, doc, name);
    let taken = 0;
    const fit = selectManifests(doc, this.#matcher, 0);
    for (const child of fit) {
      if ((await findBlob(this.#ctx, this.#call, child.digest)) === undefined) continue;
      if (await this.#tree(child, depth + 1, name)) taken++;
    }
    if (taken === 0 && depth === 0) throw noMatch(name, doc);
    return taken > 0;
  }

  async #take(desc: Descriptor, manifest: Manifest, name: string): Promise<boolean> {
    if (!isImageManifest(manifest)) return true;
    const config = await readConfig(this.#ctx, this.#call, manifest.config).catch((err: unknown) => {
      if (isNotFound(err))
        throw invalidArgument(`import "${name}": the archive lacks image config ${manifest.config.digest}`);
      throw err;
    });
    if (!this.#matcher.match(config.platform)) return false;
    for (const layer of manifest.layers) {
      if (
        (await findBlob(this.#ctx, this.#call, layer.digest)) === undefined &&
        (layer.urls?.length ?? 0) === 0
      )
        throw invalidArgument(`import "${name}": the archive lacks layer ${layer.digest}`);
    }
    if (manifest.layers.some((l) => !isLayerType(l.mediaType))) return true;
    let unpacked = false;
    for (const target of this.#o.unpack ?? []) {
      if (target.matcher !== undefined && !target.matcher.match(config.platform)) continue;
      const chainId = await unpackImage(this.#ctx, this.#call, {
        snapshotter: target.snapshotter,
        manifest,
        manifestDesc: desc,
        config,
        source: nowhere((digest) => invalidArgument(`the archive lacks ${digest}`)),
        blobLabels: new Map(),
        progress: this.#progress,
        downloads: this.#downloads,
        imageName: name,
      });
      if (chainId === undefined) continue;
      await labelConfig(this.#ctx, this.#call, manifest.config, target.snapshotter, chainId);
      unpacked = true;
    }
    if (unpacked && this.#o.discardUnpacked) await releaseLayers(this.#ctx, this.#call, desc.digest);
    return true;
  }
}

/** The target of an image record: naming annotations and platform belong to the archive. */
function bare({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}
