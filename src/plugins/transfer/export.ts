/** Export: from the stores into an archive stream that is an OCI layout and, with manifest.json, loads into Docker. */
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isNotFound, notFound } from "../../core/errors.ts";
import { algorithmOf, type Digest, hexOf } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import { type DescriptorJson, descriptorToJson } from "../../oci/descriptors.ts";
import { isImageManifest, type Manifest } from "../../oci/documents.ts";
import { isNonDistributable, OCI_INDEX } from "../../oci/media-types.ts";
import { hostPlatform, matchAll, matchOnly, type PlatformMatcher } from "../../oci/platform.ts";
import { familiarName } from "../../oci/reference.ts";
import { IMAGE_NAME, REF_NAME } from "./archive/naming.ts";
import { type PackEntry, packArchive } from "./archive/pack.ts";
import { findBlob } from "./blobs.ts";
import type { OnProgress, TransferContext } from "./context.ts";
import { MAX_DEPTH, noMatch, readConfig, readManifest, selectManifests } from "./graph.ts";
import { ProgressTracker } from "./progress.ts";
import { checkedStream, sourceOf } from "./refetch.ts";
import type { BlobSource } from "./sources.ts";

/** Options of {@link exportArchive}. */
export interface ExportOptions {
  /** Names of images to export. */
  readonly names: readonly string[];
  readonly matcher?: PlatformMatcher | undefined;
  readonly allPlatforms?: boolean | undefined;
  /** Leave out Docker's manifest.json. */
  readonly skipManifestJson?: boolean | undefined;
  readonly skipNonDistributable?: boolean | undefined;
  readonly progress?: OnProgress | undefined;
}

interface Plan {
  readonly blobs: Map<Digest, Descriptor>;
  /** Where the blobs that are not stored come from. */
  readonly absent: Map<Digest, BlobSource>;
  readonly index: DescriptorJson[];
  readonly docker: Map<string, { Config: string; RepoTags: string[]; Layers: string[] }>;
}

/**
 * The archive's bytes.
 * @throws not-found for an unknown image, a missing blob or a platform that is not there, all before the first byte
 */
export async function* exportArchive(
  ctx: TransferContext,
  call: NamespacedCall,
  o: ExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (o.names.length === 0) throw invalidArgument("export: no image names given");
  const progress = new ProgressTracker(o.progress ?? (() => {}), o.names[0] ?? "", "exporting");
  progress.note("Exporting", o.names.join(" "));
  const plan: Plan = { blobs: new Map(), absent: new Map(), index: [], docker: new Map() };
  for (const name of o.names) await planImage(ctx, call, name, o, plan);
  yield* packArchive(archiveEntries(ctx, call, plan, o, progress));
  progress.note("Completed export", o.names.join(" "));
}

async function planImage(
  ctx: TransferContext,
  call: NamespacedCall,
  name: string,
  o: ExportOptions,
  plan: Plan,
): Promise<void> {
  const image = await ctx.stores.images.get(call, name);
  const matcher = o.allPlatforms ? matchAll : (o.matcher ?? matchOnly(hostPlatform()));
  const found: { desc: Descriptor; manifest: Manifest }[] = [];
  await walk(ctx, call, image.target, { name, matcher, o, plan, found }, 0);
  const tag = tagOf(name);
  const annotations = new Map([
    ...(image.target.annotations ?? []),
    [IMAGE_NAME, name],
    ...(tag === "" ? [] : ([[REF_NAME, tag]] as const)),
  ] as [string, string][]);
  plan.index.push(descriptorToJson({ ...image.target, annotations }));
  // Docker reads one manifest for each name: the best fit.
  const best = found.find((f) => isImageManifest(f.manifest));
  if (best === undefined) return;
  const entry = plan.docker.get(best.desc.digest) ?? {
    Config: blobPath(best.manifest.config.digest),
    RepoTags: [],
    Layers: best.manifest.layers.map((l) => blobPath(l.digest)),
  };
  if (!name.includes("@")) entry.RepoTags.push(familiarName(name));
  plan.docker.set(best.desc.digest, entry);
}

interface Walk {
  readonly name: string;
  readonly matcher: PlatformMatcher;
  readonly o: ExportOptions;
  readonly plan: Plan;
  readonly found: { desc: Descriptor; manifest: Manifest }[];
}

async function walk(
  ctx: TransferContext,
  call: NamespacedCall,
  desc: Descriptor,
  w: Walk,
  depth: number,
): Promise<void> {
  if (depth > MAX_DEPTH) throw invalidArgument(`index ${desc.digest}: nested deeper than ${MAX_DEPTH}`);
  const doc = await readManifest(ctx, call, desc).catch((err: unknown) => {
    throw isNotFound(err) ? missing(w.name, desc) : err;
  });
  w.plan.blobs.set(desc.digest, desc);
  if (doc.kind === "index") {
    const fit = selectManifests(doc, w.matcher, 0);
    if (fit.length === 0) throw noMatch(w.name, doc);
    for (const child of fit) await walk(ctx, call, child, w, depth + 1);
    return;
  }
  if (desc.platform === undefined && isImageManifest(doc) && w.o.matcher !== undefined) {
    const config = await readConfig(ctx, call, doc.config);
    if (!w.matcher.match(config.platform))
      throw notFound(`image "${w.name}": no match for platform in manifest`);
  }
  for (const blob of [doc.config, ...doc.layers]) {
    if (w.o.skipNonDistributable && isNonDistributable(blob.mediaType)) continue;
    if ((await findBlob(ctx, call, blob.digest)) === undefined) {
      const source = await sourceOf(ctx, call, desc.digest);
      if (source === undefined) throw missing(w.name, blob);
      w.plan.absent.set(blob.digest, source);
    }
    w.plan.blobs.set(blob.digest, blob);
  }
  w.found.push({ desc, manifest: doc });
}

function missing(name: string, desc: Descriptor): Error {
  return notFound(`export "${name}": content digest ${desc.digest}`, {
    hint: "this content was never pulled: choose a platform with --platform, or pull the image with --all-platforms",
  });
}

async function* archiveEntries(
  ctx: TransferContext,
  call: NamespacedCall,
  plan: Plan,
  o: ExportOptions,
  progress: ProgressTracker,
): AsyncGenerator<PackEntry, void, undefined> {
  yield { name: "blobs" };
  const blobs = [...plan.blobs.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  for (const algorithm of new Set(blobs.map((b) => algorithmOf(b.digest))))
    yield { name: `blobs/${algorithm}` };
  for (const desc of blobs) {
    const absent = plan.absent.get(desc.digest);
    if (absent !== undefined) {
      const bytes = checkedStream(absent, desc, 0n, call.signal);
      const content = counted(bytes, call, (done) => progress.bytes(desc, done));
      yield { name: blobPath(desc.digest), file: { size: desc.size, content } };
      progress.step(desc, "complete");
      continue;
    }
    await using reader = await ctx.stores.content.reader(call, desc.digest);
    const content = counted(reader.stream(), call, (done) => progress.bytes(desc, done));
    yield { name: blobPath(desc.digest), file: { size: reader.size, content } };
    progress.step(desc, "complete");
  }
  // The document is byte for byte what containerd 1.7 writes.
  yield jsonFile("index.json", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: plan.index }, 0o644);
  if (!o.skipManifestJson && plan.docker.size > 0)
    yield jsonFile("manifest.json", [...plan.docker.values()], 0o644);
  yield jsonFile("oci-layout", { imageLayoutVersion: "1.0.0" });
}

async function* counted(
  stream: AsyncIterable<Uint8Array>,
  call: NamespacedCall,
  report: (done: bigint) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let done = 0n;
  for await (const chunk of stream) {
    call.check();
    yield chunk;
    done += BigInt(chunk.byteLength);
    report(done);
  }
}

function jsonFile(name: string, value: unknown, mode?: number): PackEntry {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return { name, file: { size: BigInt(bytes.byteLength), content: [bytes], mode } };
}

function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** Tag of a name, "" without one. */
function tagOf(name: string): string {
  const at = name.indexOf("@");
  const plain = at < 0 ? name : name.slice(0, at);
  const colon = plain.lastIndexOf(":");
  return colon > plain.lastIndexOf("/") ? plain.slice(colon + 1) : "";
}
