/** Checkpoints in the content store: CRIU's image folder as one tar, and the container's spec. */
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { invalidArgument, isAlreadyExists } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import { CHECKPOINT_CONFIG_TYPE, CHECKPOINT_TYPE } from "../../oci/checkpoint-types.ts";
import { ownBytes } from "../../rpc/convert/basic.ts";
import { type Bundle, makeWork } from "./bundle.ts";

/**
 * Checkpoints a task into the content store. `run` makes CRIU's images in the folder it is given, which is part of the bundle:
 * a daemon that is killed meanwhile leaves nothing behind.
 */
export async function checkpointToStore(
  call: NamespacedCall,
  content: ContentStore,
  bundle: Bundle,
  spec: AnyValue | undefined,
  run: (folder: string) => Promise<void>,
): Promise<Descriptor[]> {
  await makeWork(bundle);
  const folder = await mkdtemp(join(bundle.work, "checkpoint-"));
  try {
    await run(folder);
    return await storeCheckpoint(call, content, bundle.id, folder, spec);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Puts what CRIU wrote to `folder`, and the spec, into the store. @returns their descriptors, in this order */
async function storeCheckpoint(
  call: NamespacedCall,
  content: ContentStore,
  id: string,
  folder: string,
  spec: AnyValue | undefined,
): Promise<Descriptor[]> {
  const { pack } = await import("tar-stream");
  const archive = pack();
  const fill = async (): Promise<void> => {
    for (const name of (await readdir(folder)).sort()) {
      const path = join(folder, name);
      const facts = await stat(path);
      if (!facts.isFile()) continue;
      await pipeline(createReadStream(path), archive.entry({ name, size: facts.size, mode: 0o600 }));
    }
    archive.finalize();
  };
  const filling = fill().catch((err: unknown) => {
    archive.destroy(err instanceof Error ? err : new Error(String(err)));
  });
  const images = await store(call, content, `checkpoint-${id}-criu`, CHECKPOINT_TYPE, archive);
  await filling;
  const any = create(AnySchema, {
    typeUrl: spec?.typeUrl ?? "",
    value: ownBytes(spec?.value ?? new Uint8Array()),
  });
  const config = [toBinary(AnySchema, any)];
  return [images, await store(call, content, `checkpoint-${id}-spec`, CHECKPOINT_CONFIG_TYPE, config)];
}

async function store(
  call: NamespacedCall,
  content: ContentStore,
  ref: string,
  mediaType: string,
  chunks: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<Descriptor> {
  await using writer = await content.writer(call, { ref });
  await writer.truncate(0n);
  let size = 0n;
  for await (const chunk of chunks) {
    const bytes = chunk as Uint8Array;
    await writer.write(bytes);
    size += BigInt(bytes.length);
  }
  const digest = writer.digest();
  await writer.commit(size, undefined).catch((err: unknown): Digest => {
    if (isAlreadyExists(err)) return digest;
    throw err;
  });
  return { mediaType, digest, size };
}

/**
 * Unpacks CRIU's images of a checkpoint into `folder`, which is made.
 * @throws invalid-argument for another media type, and for anything in the archive but files with plain names (S32)
 */
export async function unpackCheckpoint(
  call: NamespacedCall,
  content: ContentStore,
  from: Descriptor,
  folder: string,
): Promise<void> {
  if (from.mediaType !== CHECKPOINT_TYPE)
    throw invalidArgument(`unsupported checkpoint type "${from.mediaType}"`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await using reader = await content.reader(call, from.digest);
  let at = 0n;
  const next = async (length: bigint): Promise<Uint8Array> => {
    const bytes = await reader.readAt(at, Number(length));
    if (BigInt(bytes.length) < length) throw invalidArgument("unpack checkpoint: the archive is cut off");
    at += length;
    return bytes;
  };
  for (let files = 0; ; files++) {
    const header = await next(BLOCK);
    if (header.every((byte) => byte === 0)) return;
    if (files > MAX_FILES) throw invalidArgument(`unpack checkpoint: more than ${MAX_FILES} entries`);
    const { name, type, size } = readHeader(header);
    const end = at + ((size + BLOCK - 1n) / BLOCK) * BLOCK;
    if (type === "0" || type === "\0") {
      if (!/^[\w][\w.-]*$/.test(name)) throw refused(name);
      await using file = await open(join(folder, name), "wx", 0o600);
      for (let left = size; left > 0n; ) {
        const bytes = await next(left > CHUNK ? CHUNK : left);
        await file.writeFile(bytes);
        left -= BigInt(bytes.length);
      }
    } else if (type === "5" ? name !== "" && name !== "." : type !== "x" && type !== "g") throw refused(name);
    at = end;
  }
}

const BLOCK = 512n;
const CHUNK = 1n << 20n;
const MAX_FILES = 10_000;

const refused = (name: string) =>
  invalidArgument(`unpack checkpoint: entry "${name}" is not a file with a plain name`);

/** What matters of a ustar header; sizes past 8 GiB are base-256. */
function readHeader(block: Uint8Array): { name: string; type: string; size: bigint } {
  const text = (from: number, length: number): string =>
    new TextDecoder().decode(block.subarray(from, from + length)).replace(/\0.*$/s, "");
  const number = block.subarray(124, 136);
  const binary = ((number[0] ?? 0) & 0x80) !== 0;
  const size = binary
    ? number.subarray(4).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
    : BigInt(`0o${text(124, 12).trim() || "0"}`);
  const name = text(0, 100).replace(/^\.\//, "").replace(/\/$/, "");
  return { name, type: String.fromCharCode(block[156] ?? 0), size };
}
