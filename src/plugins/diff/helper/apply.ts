/** The helper's side of unpacking. Runs in its own process only: it changes the root of the process. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { canceled, internal, resourceExhausted } from "../../../core/errors.ts";
import type { Mount } from "../../../core/mounts/mount.ts";
import { mountAll } from "../../../platform/mounts/mounts.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import { chroot, fchdir } from "../../../platform/syscalls/raw-process.ts";
import { Extractor } from "../extract/extractor.ts";
import { fail } from "../extract/failure.ts";
import { finishLayer } from "../extract/finish.ts";
import { fromText } from "../tar/byte-string.ts";
import { TarReader } from "../tar/reader.ts";
import { Decompressor } from "./decompress.ts";
import { privateMountpoint } from "./private-mounts.ts";
import {
  type Destination,
  type DigestAndSize,
  type FinishInstruction,
  FRAME,
  FrameReader,
  type UnpackInstruction,
} from "./protocol.ts";
import { report } from "./report.ts";

const { O } = fs;

/** How much is read from a blob's file at a time, and how often progress is told. */
const READ = 256 * 1024;
const PROGRESS = 4 << 20;

/** Where the blob's bytes go besides the decompressor. */
class Blob {
  readonly #hash = createHash("sha256");
  readonly #fd: number;
  size = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Hashes and stores bytes. `stored` ones are in the file already. */
  take(bytes: Uint8Array, stored = false): void {
    this.#hash.update(bytes);
    this.size += bytes.length;
    if (stored || this.#fd < 0) return;
    const n = fs.write(this.#fd, bytes);
    if (n < 0) throw fail("write blob", n);
  }

  result(): DigestAndSize {
    return { digest: `sha256:${this.#hash.digest("hex")}`, size: this.size };
  }
}

/** The file that decompressed bytes go to. */
class PlainFile {
  readonly fd: number;
  readonly #most: number;
  #size = 0;

  constructor({ plainPath, limits }: UnpackInstruction) {
    this.fd = openFile(plainPath ?? "", O.WRONLY | O.CREAT | O.TRUNC);
    this.#most = limits.bytes === 0 ? Number.POSITIVE_INFINITY : limits.bytes;
  }

  write(bytes: Uint8Array): void {
    this.#size += bytes.length;
    if (this.#size > this.#most) throw resourceExhausted(`unpack layer: more than ${this.#most} bytes`);
    const n = fs.write(this.fd, bytes);
    if (n < 0) throw fail("write layer image", n);
  }
}

/** A helper that took a layer of more bytes has a large heap: it ends rather than taking another. */
const REUSABLE = 64 << 20;

/**
 * Unpacks one layer after the other, as start frames say, until stdin ends. Each has the root of the process to itself:
 * the next one begins in the root the helper started with, with none of the files of the one before open.
 */
export async function serveApply(): Promise<void> {
  // The global stdin stream comes to life on first use; that must not happen inside the new root.
  const frames = frameStream(process.stdin);
  for (let again = true; again; ) {
    const first = await frames.next();
    if (first.done === true) return;
    const { type, payload } = first.value;
    if (type !== FRAME.start) throw internal(`unpack: frame ${type} without a layer`);
    const instruction = JSON.parse(Buffer.from(payload).toString("utf8")) as UnpackInstruction;
    if (instruction.parent !== process.ppid) return; // the daemon is gone already
    again = await applyOne(instruction, frames);
  }
}

type Frames = AsyncGenerator<{ readonly type: number; readonly payload: Uint8Array }, void, void>;

async function* frameStream(input: NodeJS.ReadStream): Frames {
  const frames = new FrameReader();
  for await (const chunk of input as AsyncIterable<Uint8Array>) yield* frames.push(chunk);
}

/** Unpacks a layer; true when another one may follow. */
async function applyOne(instruction: UnpackInstruction, frames: Frames): Promise<boolean> {
  const source = instruction.source.kind === "file" ? openFile(instruction.source.path, O.RDONLY) : -1;
  const blobFd =
    instruction.blobPath === undefined ? -1 : openFile(instruction.blobPath, O.RDWR | O.CREAT | O.APPEND);
  const host = openFile("/", O.PATH | O.DIRECTORY);
  const extractor =
    instruction.destination === undefined ? undefined : enter(instruction.destination, instruction);

  const blob = new Blob(blobFd);
  const diffHash = createHash("sha256");
  let diffSize = 0;
  const reader = extractor === undefined ? undefined : new TarReader(extractor);
  const plain = instruction.plainPath === undefined ? undefined : new PlainFile(instruction);
  const decompressor =
    reader === undefined && plain === undefined
      ? undefined
      : new Decompressor(instruction.compression, (bytes) => {
          diffHash.update(bytes);
          diffSize += bytes.length;
          reader?.push(bytes);
          plain?.write(bytes);
        });

  const endOfLayer = async (): Promise<void> => {
    await decompressor?.end();
    reader?.finish();
    const diff =
      decompressor === undefined ? undefined : { digest: `sha256:${diffHash.digest("hex")}`, size: diffSize };
    report({ type: "extracted", blob: blob.result(), diff, warnings: extractor?.warnings ?? [] });
  };

  try {
    if (source >= 0) {
      let told = 0;
      for (;;) {
        const bytes = readSome(source);
        if (bytes.length === 0) break;
        blob.take(bytes, true);
        await decompressor?.write(bytes);
        if (blob.size - told < PROGRESS) continue;
        told = blob.size;
        report({ type: "progress", bytes: told });
      }
      await endOfLayer();
    } else if (blobFd >= 0) {
      for (let bytes = readSome(blobFd); bytes.length > 0; bytes = readSome(blobFd)) {
        blob.take(bytes, true);
        await decompressor?.write(bytes);
      }
    }
    const order = await followFrames(frames, {
      data: async (bytes) => {
        blob.take(bytes);
        await decompressor?.write(bytes);
      },
      end: endOfLayer,
    });
    if (extractor !== undefined) {
      finish(extractor, host, order);
      leave(host);
    }
    // Mounts of its own end with the process.
    const again = instruction.destination?.kind !== "mounts" && diffSize <= REUSABLE;
    for (const fd of [source, blobFd, host, plain?.fd ?? -1]) if (fd >= 0) fs.close(fd);
    report({ type: "finished", again });
    return again;
  } finally {
    extractor?.abort();
  }
}

/** Makes the root this process started with its root again. */
function leave(host: number): void {
  let n = fchdir(host);
  if (n >= 0) n = chroot(".");
  if (n < 0) throw fail("change root back", n);
}

interface FrameHandlers {
  data(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
}

/** Follows frames to the finish frame. The end of stdin before it means that the daemon gave up. */
async function followFrames(frames: Frames, handlers: FrameHandlers): Promise<FinishInstruction> {
  for (;;) {
    const next = await frames.next();
    if (next.done === true) throw canceled("unpack: given up");
    const { type, payload } = next.value;
    if (type === FRAME.data) await handlers.data(payload);
    else if (type === FRAME.end) await handlers.end();
    else if (type === FRAME.finish)
      return JSON.parse(Buffer.from(payload).toString("utf8")) as FinishInstruction;
    else throw internal(`unpack: unknown frame ${type}`);
  }
}

function openFile(path: string, flags: number): number {
  const fd = fs.open(fromText(path), flags | O.CLOEXEC, 0o600);
  if (fd < 0) throw fail(`open "${path}"`, fd);
  return fd;
}

/** A fresh buffer each time: the decompressor keeps what it was given until it is done with it. */
function readSome(fd: number): Uint8Array {
  const buffer = new Uint8Array(READ);
  const n = fs.read(fd, buffer);
  if (n < 0) throw fail("read blob", n);
  return buffer.subarray(0, n);
}

/** Makes the destination the root of this process. */
function enter(destination: Destination, instruction: UnpackInstruction): Extractor {
  const path = destination.kind === "directory" ? destination.path : mountPrivately(destination.mounts ?? []);
  const whiteouts = destination.whiteouts === "defer" || isEmpty(path) ? "defer" : "delete";
  const n = chroot(fromText(path));
  if (n < 0) throw fail(`change root to "${path}"`, n);
  return new Extractor({ whiteouts, limits: instruction.limits });
}

function mountPrivately(mounts: readonly Mount[]): string {
  const target = privateMountpoint();
  mountAll(mounts, target);
  return target;
}

function isEmpty(path: string): boolean {
  const fd = openFile(path, O.RDONLY | O.DIRECTORY);
  const entries = fs.readdir(fd);
  fs.close(fd);
  return typeof entries !== "number" && entries.every((entry) => entry.name === "lost+found");
}

function finish(extractor: Extractor, host: number, order: FinishInstruction): void {
  const parents: number[] = [];
  try {
    for (const path of order.parents) {
      const fd = fs.open(fromText(path.replace(/^\/+/, "")), O.PATH | O.DIRECTORY | O.CLOEXEC, 0, host);
      if (fd < 0) throw fail(`open parent layer "${path}"`, fd);
      parents.push(fd);
    }
    finishLayer(extractor, { style: order.style, overlayXattr: order.overlayXattr, parents });
  } finally {
    for (const fd of parents) fs.close(fd);
  }
  if (!order.sync) return;
  const root = fs.open("/", O.RDONLY | O.DIRECTORY | O.CLOEXEC);
  const n = root < 0 ? root : fs.syncfs(root);
  if (root >= 0) fs.close(root);
  if (n < 0) throw fail("flush the file system", n);
}
