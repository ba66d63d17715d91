/** Subvolumes of btrfs: ioctls on the folder they are made in. Each may wait for a transaction: not for the main thread. */
import { closeSync, constants, openSync } from "node:fs";
import { basename, dirname } from "node:path";
import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "./errors.ts";

const cIoctl = libc("ioctl", ["i32", "i64", "buf"]);

/** linux/btrfs.h: _IOW(0x94, n, 4096 bytes). */
const SUBVOL_CREATE = 0x5000940e;
const SNAP_DESTROY = 0x5000940f;
const SNAP_CREATE_V2 = 0x50009417;
/** Size of both argument structures, and where their names begin. */
const SIZE = 4096;
const NAME = 8;
const NAME_V2 = 56;
/** statfs type of btrfs. */
export const BTRFS_MAGIC = 0x9123683e;

/** Makes an empty subvolume at `path`. */
export function createSubvolume(path: string): void {
  inFolder(path, (folder) => {
    check(`create subvolume "${path}"`, cIoctl(folder, SUBVOL_CREATE, named(path, NAME)));
  });
}

/** Makes a writable copy of the subvolume `from` at `path`; nothing is copied until one of them changes. */
export function snapshotSubvolume(from: string, path: string): void {
  const source = openSync(from, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    inFolder(path, (folder) => {
      const args = named(path, NAME_V2);
      view(args).setBigInt64(0, BigInt(source), true);
      check(`snapshot subvolume "${from}"`, cIoctl(folder, SNAP_CREATE_V2, args));
    });
  } finally {
    closeSync(source);
  }
}

/** Deletes the subvolume at `path` at once; the kernel frees its space later. Fails when it holds other subvolumes. */
export function destroySubvolume(path: string): void {
  inFolder(path, (folder) => {
    check(`delete subvolume "${path}"`, cIoctl(folder, SNAP_DESTROY, named(path, NAME)));
  });
}

function inFolder(path: string, work: (folder: number) => void): void {
  const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    work(folder);
  } finally {
    closeSync(folder);
  }
}

function named(path: string, at: number): Uint8Array {
  const args = alloc(SIZE);
  args.set(Buffer.from(basename(path)), at);
  return args;
}
