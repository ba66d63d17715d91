import { removeTree } from "../../../platform/fs/raw-remove.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import type { ByteString } from "../tar/byte-string.ts";

const { ERRNO, O, S } = fs;

/** Removes `path` with all below it. `error` is 0, or a negative errno; a missing path is no error. */
export function removeAll(path: ByteString): { error: number; directory: boolean } {
  const n = fs.unlink(path);
  if (n === 0 || n === -ERRNO.ENOENT) return { error: 0, directory: false };
  if (n !== -ERRNO.EISDIR && n !== -ERRNO.EPERM) return { error: n, directory: false };
  const end = path.lastIndexOf("/");
  const dir = fs.open(path.slice(0, end) || "/", O.PATH | O.DIRECTORY | O.CLOEXEC);
  if (dir < 0) return { error: dir, directory: false };
  try {
    return { error: removeTree(dir, path.slice(end + 1)), directory: true };
  } finally {
    fs.close(dir);
  }
}

/**
 * Removes from the directory `top` everything whose path is not in `keep`; directories in `skip` (other than `top`) are
 * left alone. 0, or a negative errno.
 */
export function clearDirectory(
  top: ByteString,
  keep: ReadonlySet<ByteString>,
  skip: ReadonlySet<ByteString>,
): number {
  const todo = [top];
  for (let dir = todo.pop(); dir !== undefined; dir = todo.pop()) {
    const fd = fs.open(dir || "/", O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
    if (fd === -ERRNO.ENOENT || fd === -ERRNO.ENOTDIR || fd === -ERRNO.ELOOP) continue;
    if (fd < 0) return fd;
    const entries = fs.readdir(fd);
    fs.close(fd);
    if (typeof entries === "number") return entries;
    for (const entry of entries) {
      const path = `${dir}/${entry.name}`;
      if (!keep.has(path)) {
        const { error } = removeAll(path);
        if (error < 0) return error;
      } else if (!skip.has(path) && isDirectory(path, entry.type)) {
        todo.push(path);
      }
    }
  }
  return 0;
}

function isDirectory(path: ByteString, type: number): boolean {
  if (type !== 0) return type === S.IFDIR >> 12;
  const stat = fs.lstat(path);
  return typeof stat !== "number" && (stat.mode & S.IFMT) === S.IFDIR;
}
