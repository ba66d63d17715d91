/** The helper's side of unpacking. Runs in its own process only: it changes the root of the process. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { canceled, internal } from "../../../core/errors.ts";
import type { Mount } from "../../../core/mounts/mount.ts";
import { mountAll } from "../../../platform/mounts/mounts.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
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

/** Unpacks what `instruction` says, then follows the frames of stdin. */
export async function runApply(instruction: UnpackInstruction): Promise<void> {
  // The global stdin stream comes to life on first use; that must not happen inside the new root.
  const input = process.stdin;
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
  const decompressor =
    reader === undefined
      ? undefined
      : new Decompressor(instruction.compression, (bytes) => {
          diffHash.update(bytes);
          diffSize += bytes.length;
          reader.push(bytes);
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
    await followFrames(input, {
      data: async (bytes) => {
        blob.take(bytes);
        await decompressor?.write(bytes);
      },
      end: endOfLayer,
      finish: (order) => {
        if (extractor !== undefined) finish(extractor, host, order);
        report({ type: "finished" });
      },
    });
  } finally {
    extractor?.abort();
  }
}

interface FrameHandlers {
  data(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
  finish(order: FinishInstruction): void;
}

/** Reads frames until the finish frame. The end of stdin before it means that the daemon gave up. */
async function followFrames(input: NodeJS.ReadStream, handlers: FrameHandlers): Promise<void> {
  const frames = new FrameReader();
  for await (const chunk of input as AsyncIterable<Uint8Array>) {
    for (const { type, payload } of frames.push(chunk)) {
      if (type === FRAME.data) await handlers.data(payload);
      else if (type === FRAME.end) await handlers.end();
      else if (type === FRAME.finish) {
        handlers.finish(JSON.parse(Buffer.from(payload).toString("utf8")) as FinishInstruction);
        return;
      } else throw internal(`unpack: unknown frame ${type}`);
    }
  }
  throw canceled("unpack: given up");
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
  const n = fs.chroot(fromText(path));
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
