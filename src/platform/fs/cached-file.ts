/**
 * Reading small files that the kernel has in memory, without a trip to another thread and without ever waiting for a disk: the
 * path is walked in the kernel's cache only (RESOLVE_CACHED), and the pages are read only if they are there (RWF_NOWAIT).
 */
import { ffi, libc } from "../ffi/libc.ts";
import { alloc, cstr, type Path, view } from "../ffi/memory.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_RDONLY, S_IFREG } from "../syscalls/constants.ts";
import { close } from "../syscalls/files.ts";
import { statfs, statxIfExists } from "../syscalls/stat.ts";

const cOpenat2 = libc("syscall", ["i64", "i64", "buf", "buf", "i64"], "i64");
const cPreadv2 = libc("preadv2", ["i32", "buf", "i32", "i64", "i32"], "i64");
const SYS_OPENAT2 = 437;
const RESOLVE_CACHED = 0x20;
const RWF_NOWAIT = 0x8;
/** statx: what is known without asking a server. */
const AT_STATX_DONT_SYNC = 0x4000;
/** statfs types of file systems whose open(2) never waits for anybody: ext2 to 4, xfs, btrfs, tmpfs, overlay, f2fs. */
const LOCAL = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0xf2f52010]);

/** A folder on a local file system whose small files may be read at once. */
export class CachedFolder {
  readonly #path: string;
  #local: boolean | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The whole content of a file below the folder, at most `limit` bytes.
   * @returns undefined when it is larger, not in memory, not there, or the file system cannot say: read it the usual way
   */
  read(path: string, limit: number): Uint8Array | undefined {
    this.#local ??= isLocal(this.#path);
    if (!this.#local) return undefined;
    const how = alloc(24);
    const fields = view(how);
    fields.setBigUint64(0, BigInt((O_RDONLY | O_CLOEXEC) >>> 0), true);
    fields.setBigUint64(16, BigInt(RESOLVE_CACHED), true);
    const fd = cOpenat2(SYS_OPENAT2, AT_FDCWD, cstr(path), how, 24);
    if (fd < 0) return undefined;
    try {
      const found = statxIfExists(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC);
      if (found === undefined || found.type !== S_IFREG || found.size > limit) return undefined;
      // one byte more: a file that grew meanwhile is not small any more
      const buffer = alloc(found.size + 1);
      const vector = alloc(16);
      const parts = view(vector);
      parts.setBigUint64(0, ffi().addressOf(buffer), true);
      parts.setBigUint64(8, BigInt(found.size + 1), true);
      const length = cPreadv2(fd, vector, 1, 0, RWF_NOWAIT);
      return length === found.size ? buffer.subarray(0, length) : undefined;
    } finally {
      close(fd);
    }
  }
}

function isLocal(path: Path): boolean {
  try {
    return LOCAL.has(statfs(path).type >>> 0);
  } catch {
    return false;
  }
}
