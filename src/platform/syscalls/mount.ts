import { libc } from "../ffi/libc.ts";
import { cstr, type Path } from "../ffi/memory.ts";
import { check } from "./errors.ts";

const cMount = libc("mount", ["buf", "buf", "buf", "i64", "buf"]);
const cUmount2 = libc("umount2", ["buf", "i32"]);

/** mount(2). The kernel cuts `data` at one page less one byte: callers check. Blocks on a hung file system. */
export function mount(
  source: Path | null,
  target: Path,
  fstype: string | null,
  flags: number,
  data?: string,
): void {
  check(
    "mount",
    cMount(
      source === null ? null : cstr(source),
      cstr(target),
      fstype === null ? null : cstr(fstype),
      flags,
      // The kernel copies a whole page from here; a shorter buffer at the end of a mapping still works.
      data === undefined || data === "" ? null : cstr(data),
    ),
    target,
  );
}

/** umount2(2); flags MNT_* and UMOUNT_NOFOLLOW. EINVAL means: not a mount point. */
export function umount2(target: Path, flags = 0): void {
  check("umount2", cUmount2(cstr(target), flags), target);
}
