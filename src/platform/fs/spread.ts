import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { O_DIRECTORY, O_RDONLY } from "../syscalls/constants.ts";
import { check } from "../syscalls/errors.ts";
import { close, open } from "../syscalls/files.ts";

const cIoctl = libc("ioctl", ["i32", "i64", "buf"]);

/** linux/fs.h; both take an int, whatever their names' sizes say. */
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
/** `chattr +T`. */
const TOPDIR = 0x00020000;

/**
 * Tells ext4 that the folders in `path` have nothing to do with each other, so that each is placed in a part of the disk of
 * its own. Trees that come and go then do not meet: an ext4 without a journal (as virtual machines often have) does not use
 * the inode of a file that was removed in the last minutes, and looks at every such inode of the part for every new file.
 * @returns false where the file system knows nothing of this
 * @throws SyscallError when the folder cannot be opened
 */
export function spreadFolders(path: string): boolean {
  const fd = open(path, O_RDONLY | O_DIRECTORY);
  try {
    const flags = alloc(4);
    check("ioctl FS_IOC_GETFLAGS", cIoctl(fd, FS_IOC_GETFLAGS, flags), path);
    const now = view(flags).getUint32(0, true);
    if ((now & TOPDIR) !== 0) return true;
    view(flags).setUint32(0, now | TOPDIR, true);
    check("ioctl FS_IOC_SETFLAGS", cIoctl(fd, FS_IOC_SETFLAGS, flags), path);
    return true;
  } catch {
    return false;
  } finally {
    close(fd);
  }
}
