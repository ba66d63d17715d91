/** The helper's side of making a layer. */
import { createHash } from "node:crypto";
import { createGzip, createZstdCompress } from "node:zlib";
import { failedPrecondition } from "../../../core/errors.ts";
import type { Mount } from "../../../core/mounts/mount.ts";
import { mountAll } from "../../../platform/mounts/mounts.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import { gather, LayerWriter, type Pieces } from "../changes/layer-writer.ts";
import { treeChanges } from "../changes/two-trees.ts";
import { NeedsMergedView, upperChanges } from "../changes/upper.ts";
import { fail } from "../extract/failure.ts";
import { fromText } from "../tar/byte-string.ts";
import { tarEnd } from "../tar/writer.ts";
import { bindSource, onlyOverlay } from "../targets.ts";
import { privateMountpoint } from "./private-mounts.ts";
import type { CompareInstruction, DigestAndSize } from "./protocol.ts";
import { report } from "./report.ts";

const { O } = fs;

/** Makes the layer and reports its digests. */
export async function runCompare(instruction: CompareInstruction): Promise<void> {
  const out = fs.open(fromText(instruction.outputPath), O.WRONLY | O.CREAT | O.TRUNC | O.CLOEXEC, 0o600);
  if (out < 0) throw fail(`open "${instruction.outputPath}"`, out);
  const upper = upperOf(instruction);
  let made: Made;
  try {
    made = await write(instruction, out, (writer) =>
      upper === undefined ? walkBoth(instruction, writer) : upperChanges(writer, upper.fd, upper.xattr),
    );
  } catch (err) {
    if (!(err instanceof NeedsMergedView)) throw err;
    fs.truncate(out, 0);
    fs.seek(out, 0, 0);
    made = await write(instruction, out, (writer) => walkBoth(instruction, writer));
  }
  const n = fs.fsync(out);
  if (n < 0) throw fail("flush layer", n);
  report({ type: "compared", ...made });
}

interface Made {
  readonly blob: DigestAndSize;
  readonly diff: DigestAndSize;
}

async function write(
  instruction: CompareInstruction,
  out: number,
  walk: (writer: LayerWriter) => Pieces,
): Promise<Made> {
  const writer = new LayerWriter(instruction.latest);
  const diff = new Counter();
  const blob = new Counter((bytes) => {
    const n = fs.write(out, bytes);
    if (n < 0) throw fail("write layer", n);
  });
  const sink = compressor(instruction.compression, (bytes) => blob.take(bytes));
  for (const piece of gather(layer(walk(writer)))) {
    diff.take(piece);
    await sink.write(piece);
  }
  await sink.end();
  return { blob: blob.result(), diff: diff.result() };
}

function* layer(changes: Pieces): Pieces {
  yield* changes;
  yield tarEnd();
}

/** Hashes and counts what passes. */
class Counter {
  readonly #hash = createHash("sha256");
  readonly #then: (bytes: Uint8Array) => void;
  #size = 0;

  constructor(then: (bytes: Uint8Array) => void = () => {}) {
    this.#then = then;
  }

  take(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#size += bytes.length;
    this.#then(bytes);
  }

  result(): DigestAndSize {
    return { digest: `sha256:${this.#hash.digest("hex")}`, size: this.#size };
  }
}

interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
}

function compressor(kind: "gzip" | "zstd" | "none", take: (bytes: Uint8Array) => void): Sink {
  if (kind === "none") {
    return {
      write: async (bytes) => take(bytes),
      end: async () => {},
    };
  }
  const stream = kind === "gzip" ? createGzip({ chunkSize: 256 * 1024 }) : createZstdCompress();
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  done.catch(() => {}); // told by end(), or not waited for when the walk failed first
  stream.on("data", (bytes: Uint8Array) => {
    try {
      take(bytes);
    } catch (err) {
      stream.destroy(err instanceof Error ? err : new Error(String(err)));
    }
  });
  stream.on("end", resolve);
  stream.on("error", reject);
  return {
    write: async (bytes) => {
      if (stream.write(bytes)) return;
      await Promise.race([new Promise<void>((go) => stream.once("drain", go)), done]);
    },
    end: () => {
      stream.end();
      return done;
    },
  };
}

/** The upper directory, when it alone tells what changed: the lower mounts are exactly what lies below it. */
function upperOf({
  lower,
  upper,
}: CompareInstruction): { fd: number; xattr: "trusted" | "user" } | undefined {
  const overlay = onlyOverlay(upper);
  if (overlay?.upper === undefined) return undefined;
  const below = lowersOf(lower);
  if (below === undefined || below.join("\0") !== overlay.lowers.join("\0")) return undefined;
  const fd = fs.open(fromText(overlay.upper), O.PATH | O.DIRECTORY | O.CLOEXEC);
  if (fd < 0) throw fail(`open "${overlay.upper}"`, fd);
  return { fd, xattr: overlay.userxattr ? "user" : "trusted" };
}

function lowersOf(mounts: readonly Mount[]): readonly string[] | undefined {
  const source = bindSource(mounts);
  if (source !== undefined) return [source];
  const overlay = onlyOverlay(mounts);
  return overlay?.upper === undefined ? overlay?.lowers : [overlay.upper, ...overlay.lowers];
}

/** Both trees as they are seen; mounted for reading where a directory alone does not show them. */
function walkBoth({ lower, upper }: CompareInstruction, writer: LayerWriter): Pieces {
  return treeChanges(writer, lower.length === 0 ? -1 : openTree(lower), openTree(upper));
}

function openTree(mounts: readonly Mount[]): number {
  const path = bindSource(mounts) ?? mountReadonly(mounts);
  const fd = fs.open(fromText(path), O.PATH | O.DIRECTORY | O.CLOEXEC);
  if (fd < 0) throw fail(`open "${path}"`, fd);
  return fd;
}

function mountReadonly(mounts: readonly Mount[]): string {
  const target = privateMountpoint();
  try {
    mountAll(mounts.map(readonlyMount), target);
  } catch (err) {
    throw failedPrecondition(`make layer: mount: ${err instanceof Error ? err.message : String(err)}`);
  }
  return target;
}

/** A mount that only reads. An overlay's upper directory becomes its first lower one: it may be mounted elsewhere. */
function readonlyMount(mount: Mount): Mount {
  const overlay = mount.type === "overlay" ? onlyOverlay([mount]) : undefined;
  if (overlay?.upper === undefined)
    return { ...mount, options: [...mount.options.filter((option) => option !== "rw"), "ro"] };
  const layerText = (path: string): string => path.replace(/[\\:]/g, "\\$&");
  const rest = mount.options.filter((option) => !/^(?:upperdir|workdir|lowerdir\+?)=|^rw$/.test(option));
  const lowerdir = [overlay.upper, ...overlay.lowers].map(layerText).join(":");
  return { ...mount, options: [...rest, `lowerdir=${lowerdir}`, "ro"] };
}
