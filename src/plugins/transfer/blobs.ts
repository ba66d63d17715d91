/** Blobs in and out of the content store, whatever brings their bytes. */
import { createHash } from "node:crypto";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentInfo, ContentWriter } from "../../core/content/content.ts";
import {
  dataLoss,
  failedPrecondition,
  isAlreadyExists,
  isNotFound,
  isUnavailable,
} from "../../core/errors.ts";
import { algorithmOf, type Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { Attributes } from "../../core/tracing/span.ts";
import { traced } from "../../core/tracing/traced.ts";
import { sleep } from "../../lib/retry.ts";
import type { Semaphore } from "../../lib/semaphore.ts";
import type { RangeOptions } from "../../registry/ranges.ts";
import type { TransferContext } from "./context.ts";
import { type ProgressTracker, refKey } from "./progress.ts";
import type { BlobSource } from "./sources.ts";

/** The blob's facts, or undefined. */
export async function findBlob(
  ctx: TransferContext,
  call: NamespacedCall,
  digest: Digest,
): Promise<ContentInfo | undefined> {
  try {
    return await ctx.stores.content.info(call, digest);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}

/** Keeps an existing blob under the call's lease. */
export async function holdBlob(ctx: TransferContext, call: NamespacedCall, digest: Digest): Promise<void> {
  if (call.lease === undefined) return;
  await ctx.stores.leases.addResource(call, call.lease, { type: "content", id: digest });
}

/**
 * Reads a small document and checks its digest: what steers the engine is verified on every read.
 * @throws not-found, data-loss (damaged), failed-precondition (larger than `max`)
 */
export async function readBlob(
  ctx: TransferContext,
  call: NamespacedCall,
  desc: Pick<Descriptor, "digest">,
  max: number,
): Promise<Uint8Array> {
  await using reader = await ctx.stores.content.reader(call, desc.digest);
  if (reader.size > BigInt(max))
    throw failedPrecondition(`read ${desc.digest}: ${reader.size} bytes, larger than ${max}`);
  const parts: Uint8Array[] = [];
  for await (const part of reader.stream()) parts.push(new Uint8Array(part));
  const bytes = Buffer.concat(parts);
  const got = createHash(algorithmOf(desc.digest)).update(bytes).digest("hex");
  if (!desc.digest.endsWith(`:${got}`)) throw dataLoss(`read ${desc.digest}: stored bytes are damaged`);
  return bytes;
}

/** Adds labels to a blob; those with equal values are left alone. */
export async function addLabels(
  ctx: TransferContext,
  call: NamespacedCall,
  info: ContentInfo,
  labels: ReadonlyMap<string, string>,
): Promise<void> {
  const missing = new Map([...labels].filter(([k, v]) => info.labels.get(k) !== v));
  if (missing.size === 0) return;
  const fields = [...missing.keys()].map((k) => `labels.${k}`);
  await ctx.stores.content.update(call, info.digest, missing, fields);
}

/** Prefix of the labels that say which repository of a host has a blob. */
export const SOURCE_LABEL = "containerd.io/distribution.source.";

/** The source label for a repository, joined with the repositories already known. */
export function sourceLabel(
  host: string,
  repository: string,
  old?: ReadonlyMap<string, string>,
): [string, string] {
  const key = SOURCE_LABEL + host.replace(/[^A-Za-z0-9.:-]/g, "-");
  const known = (old?.get(key) ?? "").split(",").filter((r) => r !== "");
  if (!known.includes(repository)) known.push(repository);
  return [key, known.sort().join(",")];
}

/** What {@link storeBlob} needs. */
export interface StoreOptions {
  readonly desc: Descriptor;
  readonly source: BlobSource;
  readonly labels: ReadonlyMap<string, string>;
  readonly progress: ProgressTracker;
  /** Connections of the whole pull: a large blob may use those that are free. */
  readonly downloads?: Semaphore | undefined;
}

/** How a download may be split; undefined = not at all. */
export function rangesOf(ctx: TransferContext, downloads: Semaphore | undefined): RangeOptions | undefined {
  if (downloads === undefined || ctx.limits.rangeBytes === 0) return undefined;
  return { chunkBytes: ctx.limits.rangeBytes, connections: downloads, buffers: ctx.rangeBuffers };
}

/**
 * Brings a blob into the store, resuming what an earlier try left. One download per blob: others wait and find it there.
 * @throws failed-precondition when the bytes do not match the digest twice in a row
 */
export async function storeBlob(ctx: TransferContext, call: NamespacedCall, o: StoreOptions): Promise<void> {
  await exclusive(ctx, call, o.desc.digest, async () => {
    for (let round = 0; ; round++) {
      const known = await findBlob(ctx, call, o.desc.digest);
      if (known !== undefined) {
        await holdBlob(ctx, call, o.desc.digest);
        await addLabels(ctx, call, known, mergeSources(o.labels, known.labels));
        o.progress.step(o.desc, round === 0 ? "already exists" : "complete");
        return;
      }
      try {
        await traced(call, "fetch", (c) => download(ctx, c, o), blobAttributes(o.desc));
        o.progress.step(o.desc, "complete");
        return;
      } catch (err) {
        if (isAlreadyExists(err)) continue;
        if (!(err instanceof WrongBytes)) throw err;
        // else the next try would go on behind the wrong bytes
        await ctx.stores.content.abort(call, refKey(o.desc));
        if (round >= 1) throw err.cause;
        o.source.distrust(o.desc.digest);
      }
    }
  });
}

/** How traces name a blob. */
export function blobAttributes({ mediaType, digest, size }: Descriptor): Attributes {
  return { "content.media_type": mediaType, "content.digest": digest, "content.size": size };
}

/** Source labels name several repositories: what was known stays. */
export function mergeSources(
  labels: ReadonlyMap<string, string>,
  old: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  return new Map(
    [...labels].map(([k, v]) =>
      k.startsWith(SOURCE_LABEL) ? sourceLabel(k.slice(SOURCE_LABEL.length), v, old) : [k, v],
    ),
  );
}

/** Waits until nobody else brings the blob of this digest, or works under this other key, in the call's namespace. */
export function lockBlob(ctx: TransferContext, call: NamespacedCall, key: string): Promise<Disposable> {
  return ctx.blobLocks.acquire(`${call.namespace} ${key}`, call.signal);
}

/** Runs `work` under {@link lockBlob}. */
export async function exclusive<T>(
  ctx: TransferContext,
  call: NamespacedCall,
  key: string,
  work: () => Promise<T>,
): Promise<T> {
  using _lock = await lockBlob(ctx, call, key);
  return await work();
}

/** Bytes that do not have the digest they should; the cause is the store's error. */
class WrongBytes extends Error {
  constructor(cause: unknown) {
    super("wrong bytes", { cause });
    this.name = "WrongBytes";
  }
}

async function download(ctx: TransferContext, call: NamespacedCall, o: StoreOptions): Promise<void> {
  const { desc } = o;
  await using writer = await openWriter(ctx, call, refKey(desc), desc);
  let at = writer.status().offset;
  if (at > desc.size) {
    await writer.truncate(0n);
    at = 0n;
  }
  o.progress.bytes(desc, at);
  for await (const chunk of o.source.stream(desc, at, call.signal, rangesOf(ctx, o.downloads))) {
    await writer.write(chunk);
    at += BigInt(chunk.byteLength);
    o.progress.bytes(desc, at);
  }
  try {
    await writer.commit(desc.size, desc.digest, o.labels);
  } catch (err) {
    if (isAlreadyExists(err) || call.signal.aborted) throw err;
    const retryable = err instanceof Error && /digest|size/i.test(err.message);
    throw retryable ? new WrongBytes(err) : err;
  }
}

/** Opens an ingest; while another client writes the same ref, waits for it. @throws already-exists when it is there */
export function openWriter(
  ctx: TransferContext,
  call: NamespacedCall,
  ref: string,
  desc: Descriptor | undefined,
): Promise<ContentWriter> {
  const options = desc === undefined ? { ref } : { ref, size: desc.size, expected: desc.digest };
  return whenFree(call, () => ctx.stores.content.writer(call, options));
}

/** Tries again while `open` says that the ref is locked: a client that pulls by itself may hold it. */
export async function whenFree<T>(call: NamespacedCall, open: () => Promise<T>): Promise<T> {
  for (let wait = 50; ; wait = Math.min(1000, wait * 2)) {
    try {
      return await open();
    } catch (err) {
      if (!isUnavailable(err) || !/lock/i.test(String(err))) throw err;
      await sleep(wait, call.signal);
    }
  }
}

/** Stores bytes at hand. Existing blobs get the labels. */
export async function storeBytes(
  ctx: TransferContext,
  call: NamespacedCall,
  desc: Descriptor,
  bytes: Uint8Array,
  labels: ReadonlyMap<string, string>,
): Promise<void> {
  await exclusive(ctx, call, desc.digest, async () => {
    const known = await findBlob(ctx, call, desc.digest);
    if (known === undefined) {
      try {
        await using writer = await openWriter(ctx, call, refKey(desc), desc);
        if (writer.status().offset > 0n) await writer.truncate(0n);
        await writer.write(bytes);
        await writer.commit(desc.size, desc.digest, labels);
        return;
      } catch (err) {
        if (!isAlreadyExists(err)) throw err;
      }
    }
    const info = known ?? (await ctx.stores.content.info(call, desc.digest));
    await holdBlob(ctx, call, desc.digest);
    await addLabels(ctx, call, info, mergeSources(labels, info.labels));
  });
}
