import * as dirents from "./dirents.ts";
import * as files from "./files.ts";
import * as mounts from "./mount.ts";
import * as newMounts from "./new-mount.ts";
import * as processes from "./process.ts";
import * as sockets from "./socket.ts";
import * as stats from "./stat.ts";
import * as trees from "./tree.ts";
import * as ttys from "./tty.ts";
import * as xattrs from "./xattr.ts";

/**
 * Every kernel call as one value: take it as a parameter where a test wants to record calls or make them fail
 * (`test/fakes/syscalls.ts`); import the single file elsewhere.
 */
export type Kernel = typeof dirents &
  typeof files &
  typeof mounts &
  typeof newMounts &
  typeof processes &
  typeof sockets &
  typeof stats &
  typeof trees &
  typeof ttys &
  typeof xattrs;

/** The kernel we run on. */
export const kernel: Kernel = {
  ...dirents,
  ...files,
  ...mounts,
  ...newMounts,
  ...processes,
  ...sockets,
  ...stats,
  ...trees,
  ...ttys,
  ...xattrs,
};
