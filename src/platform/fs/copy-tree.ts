/** Copies a folder with owners, modes, times, links, devices and extended attributes: helper processes only, it blocks. */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  constants as fsConstants,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  type Stats,
  symlinkSync,
} from "node:fs";
import { AT_FDCWD, S_IFMT } from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { mknodat } from "../syscalls/tree.ts";
import { lgetxattr, llistxattr, lsetxattr } from "../syscalls/xattr.ts";

/** The kernel labels what is made by the place it is made in. */
const NOT_COPIED = "security.selinux";

/**
 * Copies what is in the folder `from` into the folder `to`, which is there and empty, and makes `to` look like `from`. Links are
 * copied, never followed. Names are bytes. Nobody else may write to either.
 * @throws the first error of the file system
 */
export function copyTreeSync(from: string, to: string): void {
  copyFolder(Buffer.from(from), Buffer.from(to), new Map());
}

function copyFolder(from: Buffer, to: Buffer, linked: Map<string, Buffer>): void {
  const found = lstatSync(from);
  for (const name of readdirSync(from, { encoding: "buffer" }))
    copyEntry(below(from, name), below(to, name), linked);
  dress(from, to, found);
}

function below(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from("/"), name]);
}

function copyEntry(from: Buffer, to: Buffer, linked: Map<string, Buffer>): void {
  const found = lstatSync(from);
  if (found.isDirectory()) {
    mkdirSync(to, { mode: 0o700 });
    copyFolder(from, to, linked);
    return;
  }
  const key = `${found.dev}:${found.ino}`;
  const twin = found.nlink > 1 ? linked.get(key) : undefined;
  if (twin !== undefined) {
    linkSync(twin, to);
    return;
  }
  if (found.isSymbolicLink()) symlinkSync(readlinkSync(from, { encoding: "buffer" }), to);
  else if (found.isFile()) copyFileSync(from, to, fsConstants.COPYFILE_EXCL | fsConstants.COPYFILE_FICLONE);
  // a socket is nothing without its server
  else if (found.isSocket()) return;
  else mknodat(AT_FDCWD, to, (found.mode & S_IFMT) | 0o600, BigInt(found.rdev));
  if (found.nlink > 1) linked.set(key, to);
  dress(from, to, found);
}

/** Owner before mode: chown takes set-user-id bits away. */
function dress(from: Buffer, to: Buffer, found: Stats): void {
  if (found.isSymbolicLink()) lchownSync(to, found.uid, found.gid);
  else {
    chownSync(to, found.uid, found.gid);
    chmodSync(to, found.mode & 0o7777);
  }
  copyAttributes(from, to);
  lutimesSync(to, found.atime, found.mtime);
}

function copyAttributes(from: Buffer, to: Buffer): void {
  let names: string[];
  try {
    names = llistxattr(from);
  } catch (error) {
    if (isErrno(error, "ENOTSUP", "EOPNOTSUPP")) return;
    throw error;
  }
  for (const name of names) {
    if (name === NOT_COPIED || name.startsWith("trusted.overlay.")) continue;
    const value = lgetxattr(from, name);
    if (value === undefined) continue;
    try {
      lsetxattr(to, name, value);
    } catch (error) {
      if (!isErrno(error, "ENOTSUP", "EOPNOTSUPP", "EPERM")) throw error;
    }
  }
}
