/** Opens an archive stream whatever its compression. */
import type { Transform } from "node:stream";
import { invalidArgument } from "../../../core/errors.ts";
import { ByteReader } from "./byte-reader.ts";

/** Compression by the first bytes. */
export function compressionOf(head: Uint8Array): "none" | "gzip" | "zstd" | "bzip2" | "xz" {
  const starts = (...magic: number[]): boolean => magic.every((b, i) => head[i] === b);
  if (starts(0x1f, 0x8b)) return "gzip";
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return "zstd";
  if (starts(0x42, 0x5a, 0x68)) return "bzip2";
  if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a)) return "xz";
  return "none";
}

/** The bytes inside, decompressed while they are read. @throws invalid-argument for a compression that is not offered */
export async function openArchive(source: AsyncIterable<Uint8Array>): Promise<ByteReader> {
  const reader = new ByteReader(source);
  const kind = compressionOf(await reader.peek(6));
  if (kind === "none") return reader;
  if (kind === "bzip2" || kind === "xz")
    throw invalidArgument(`read archive: compression ${kind} is not supported`, {
      hint: `unpack it first: ${kind === "xz" ? "xz" : "bzip2"} -d FILE`,
    });
  const [zlib, { pipeline, Readable }] = await Promise.all([import("node:zlib"), import("node:stream")]);
  const decoder: Transform =
    kind === "gzip"
      ? zlib.createGunzip({ chunkSize: 128 * 1024 })
      : zlib.createZstdDecompress({ chunkSize: 128 * 1024 });
  pipeline(Readable.from(reader.rest()), decoder, () => {});
  return new ByteReader(decoder as AsyncIterable<Uint8Array>);
}
