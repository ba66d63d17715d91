/** Opens an archive stream whatever its compression. */
import type { Transform } from "node:stream";
import { failedPrecondition, invalidArgument, messageOf } from "../../../core/errors.ts";
import type { ChildHandle } from "../../../platform/process/spawn.ts";
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

/** The bytes inside, decompressed while they are read. @throws failed-precondition without the program that a compression needs */
export async function openArchive(source: AsyncIterable<Uint8Array>): Promise<ByteReader> {
  const reader = new ByteReader(source);
  const kind = compressionOf(await reader.peek(6));
  if (kind === "none") return reader;
  if (kind === "bzip2" || kind === "xz") return new ByteReader(await byProgram(kind, reader));
  const [zlib, { pipeline, Readable }] = await Promise.all([import("node:zlib"), import("node:stream")]);
  const decoder: Transform =
    kind === "gzip"
      ? zlib.createGunzip({ chunkSize: 128 * 1024 })
      : zlib.createZstdDecompress({ chunkSize: 128 * 1024 });
  pipeline(Readable.from(reader.rest()), decoder, () => {});
  return new ByteReader(decoder as AsyncIterable<Uint8Array>);
}

/** What the programs of the host take; the memory that an archive may ask of one is bounded. */
const PROGRAMS = {
  xz: ["xz", "--decompress", "--stdout", "--memlimit-decompress=512MiB"],
  bzip2: ["bzip2", "--decompress", "--stdout"],
} as const;
const SIGKILL = 9;

/**
 * By a program of the host: neither runtime has these compressions. It reads what is behind `reader` and is ended with it.
 * @throws failed-precondition when it is not installed
 */
async function byProgram(kind: "xz" | "bzip2", reader: ByteReader): Promise<AsyncIterable<Uint8Array>> {
  const [{ pipeline, Readable }, { spawnProcess }] = await Promise.all([
    import("node:stream"),
    import("../../../platform/process/spawn.ts"),
  ]);
  const [program, ...args] = PROGRAMS[kind];
  let child: ChildHandle;
  try {
    child = spawnProcess(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  } catch (err) {
    throw failedPrecondition(`read archive: run "${program}": ${messageOf(err)}`, {
      cause: err,
      hint: `install ${kind === "xz" ? "xz-utils" : "bzip2"}, or unpack the archive first`,
    });
  }
  const { stdin, stdout, stderr } = child;
  let said = "";
  stderr?.on("data", (data: Uint8Array) => {
    if (said.length < 1000) said += new TextDecoder().decode(data);
  });
  // One that stops reading is told by its exit; a source that breaks is told to who reads.
  let broken: unknown;
  if (stdin !== undefined)
    pipeline(Readable.from(reader.rest()), stdin, (err) => {
      if (
        err != null &&
        !("code" in err && (err.code === "EPIPE" || err.code === "ERR_STREAM_PREMATURE_CLOSE"))
      )
        broken = err;
    });
  return (async function* () {
    try {
      yield* (stdout ?? []) as AsyncIterable<Uint8Array>;
      const { code } = await child.exited;
      if (broken !== undefined) throw broken;
      if (code !== 0)
        throw invalidArgument(
          `read archive: ${program} ended with code ${code}: ${said.trim().slice(0, 300)}`,
        );
    } finally {
      child.kill(SIGKILL);
    }
  })();
}
