import * as fs from "../../../platform/syscalls/raw-fs.ts";
import { mount, privateMounts } from "../../../platform/syscalls/raw-process.ts";
import { fail } from "../extract/failure.ts";

/** Covered by a file system of our own in the helper's mount namespace: nothing a helper does needs sysfs. */
const SCRATCH = "/sys";
const MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8;

let count = 0;

/**
 * A fresh directory to mount on, in a mount namespace of this process's own. It leaves nothing behind: it lives in a
 * small memory file system that goes with the process.
 */
export function privateMountpoint(): string {
  if (count === 0) {
    let n = privateMounts();
    if (n < 0) throw fail("make a mount namespace", n);
    n = mount("tmpfs", SCRATCH, "tmpfs", MS_NOSUID_NODEV_NOEXEC, "mode=0700,size=64k");
    if (n < 0) throw fail("mount scratch space", n);
  }
  const path = `${SCRATCH}/${count++}`;
  const n = fs.mkdir(path, 0o700);
  if (n < 0) throw fail("make a mount point", n);
  return path;
}
