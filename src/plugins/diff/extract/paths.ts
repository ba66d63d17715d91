import { invalidArgument } from "../../../core/errors.ts";
import { type ByteString, show } from "../tar/byte-string.ts";

/** Longest path in bytes, the kernel's PATH_MAX without its NUL and our leading slash. */
const MAX_PATH = 4094;

/**
 * The path of a name in an archive below the root: "" for the root itself, else "/a/b". `.` and empty parts vanish, `..`
 * steps back and stops at the root, as containerd does; symlinks are not looked at.
 * @throws invalid-argument when it is too long
 */
export function cleanPath(name: ByteString): ByteString {
  if (name.length > MAX_PATH * 2 || name.includes("\0"))
    throw invalidArgument(`unpack entry "${show(name.slice(0, 80))}...": name is too long or broken`);
  // The common case needs no work: no empty, "." or ".." part.
  if (!/(?:^|\/)\.{0,2}(?:\/|$)/.test(name)) return check(`/${name}`);
  const parts: ByteString[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return parts.length === 0 ? "" : check(`/${parts.join("/")}`);
}

function check(path: ByteString): ByteString {
  if (path.length > MAX_PATH)
    throw invalidArgument(`unpack entry "${show(path.slice(1, 80))}...": name is too long`);
  return path;
}

/** The directory part of a clean path: "" for entries of the root. */
export function dirOf(path: ByteString): ByteString {
  return path.slice(0, path.lastIndexOf("/"));
}

/** The last part. */
export function baseOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Prefix of a whiteout's name (image-spec layer.md, "Whiteouts"). */
export const WHITEOUT = ".wh.";
/** Name of the marker that hides everything of the lower layers in its directory. */
export const OPAQUE = ".wh..wh..opq";
/** Prefix of aufs' own files, never part of an image's content. */
export const AUFS_META = ".wh..wh.";
