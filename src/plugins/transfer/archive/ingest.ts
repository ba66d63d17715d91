/** Stores the files of an archive as blobs while it streams past. */
import type { NamespacedCall } from "../../../core/call.ts";
import { failedPrecondition, invalidArgument, isAlreadyExists } from "../../../core/errors.ts";
import { type Digest, parseDigest } from "../../../core/ids/digest.ts";
import { exclusive, findBlob, holdBlob, openWriter, whenFree } from "../blobs.ts";
import type { LocalStores, TransferContext } from "../context.ts";
import type { TarEntry } from "./tar-reader.ts";

/** A stored file. */
export interface StoredFile {
  readonly digest: Digest;
  readonly size: bigint;
}

/** From this size on a helper process hashes and writes; below, starting one costs more. */
const HELPER_FROM = 1024 * 1024;

/** A file of the archive that is to become a blob. */
export interface IngestJob {
  readonly entry: TarEntry;
  /** Known when the entry's name tells it. */
  readonly expected: Digest | undefined;
  /** Told of the bytes that are stored so far. */
  onBytes(done: bigint): void;
}

/** Stores an entry. Bytes of a blob that is there already are skipped. */
export async function ingestEntry(
  ctx: TransferContext,
  call: NamespacedCall,
  job: IngestJob,
): Promise<StoredFile> {
  const { expected } = job;
  const size = BigInt(job.entry.size);
  if (expected === undefined) return store(ctx, call, job);
  return exclusive(ctx, call, expected, async () => {
    const known = await findBlob(ctx, call, expected);
    if (known !== undefined && known.size === size) {
      await holdBlob(ctx, call, expected);
      job.onBytes(size);
      return { digest: expected, size };
    }
    return store(ctx, call, job);
  });
}

async function store(ctx: TransferContext, call: NamespacedCall, job: IngestJob): Promise<StoredFile> {
  const { entry, expected } = job;
  const size = BigInt(entry.size);
  const ref = expected === undefined ? `import-${crypto.randomUUID()}` : `import-${expected}`;
  try {
    if (ctx.stores.local !== undefined && entry.size >= HELPER_FROM)
      return await viaHelper(ctx, ctx.stores.local, call, { ...job, ref });
    const desc = expected === undefined ? undefined : { mediaType: "", digest: expected, size };
    await using writer = await openWriter(ctx, call, ref, desc);
    if (writer.status().offset > 0n) await writer.truncate(0n);
    let done = 0n;
    for await (const chunk of entry.body()) {
      await writer.write(chunk);
      done += BigInt(chunk.byteLength);
      job.onBytes(done);
    }
    const digest = expected ?? writer.digest();
    try {
      await writer.commit(size, digest);
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
      await holdBlob(ctx, call, digest);
    }
    return { digest, size };
  } catch (err) {
    if (!isAlreadyExists(err) || expected === undefined) throw err;
    await holdBlob(ctx, call, expected);
    return { digest: expected, size };
  }
}

async function viaHelper(
  ctx: TransferContext,
  local: LocalStores,
  call: NamespacedCall,
  job: IngestJob & { readonly ref: string },
): Promise<StoredFile> {
  const { ref, entry, expected } = job;
  const size = BigInt(entry.size);
  const options = { ref, size, expected };
  let writer = await whenFree(call, () => local.content.externalWriter(call, options));
  if (writer.offset > 0n) {
    await writer.abort();
    writer = await local.content.externalWriter(call, options);
  }
  await using ingest = writer;
  await using unpack = await local.applier.start(call, { mediaType: "", blobPath: ingest.path });
  try {
    let done = 0n;
    for await (const chunk of entry.body()) {
      await unpack.write(chunk);
      done += BigInt(chunk.byteLength);
      ingest.progress(done);
      job.onBytes(done);
    }
    const { blob } = await unpack.end();
    const digest = parseDigest(blob.digest);
    if (expected !== undefined && digest !== expected)
      throw failedPrecondition(
        `import "${entry.name}": unexpected commit digest ${digest}, expected ${expected}`,
      );
    await ingest.adopt(blob.size, digest, expected).catch(async (err: unknown) => {
      // a file without a digest in its name turns out to be known only at its end
      if (!isAlreadyExists(err)) throw err;
      await holdBlob(ctx, call, digest);
      // one that stays goes with its lease: the blob is stored
      await ingest.abort().catch(() => {});
    });
    return { digest, size: blob.size };
  } catch (err) {
    // one that stays goes with its lease: what failed first is what to tell
    await ingest.abort().catch(() => {});
    throw err;
  }
}

/** A whole small entry. @throws invalid-argument when larger than `max` (S11) */
export async function readEntry(entry: TarEntry, max: number): Promise<Uint8Array> {
  if (entry.size > max)
    throw invalidArgument(`read archive: "${entry.name}" of ${entry.size} bytes, larger than ${max}`);
  const out = new Uint8Array(entry.size);
  let at = 0;
  for await (const part of entry.body()) {
    out.set(part, at);
    at += part.byteLength;
  }
  return out;
}
