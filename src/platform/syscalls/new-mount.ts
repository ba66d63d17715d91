import { libc } from "../ffi/libc.ts";
import { alloc, cstr, type Path, text, view } from "../ffi/memory.ts";
import { O_CLOEXEC } from "./constants.ts";
import { check } from "./errors.ts";
import { tryRead } from "./files.ts";

// The mount API by file descriptors (kernel 5.2); numbers are equal on every architecture.
const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const SYS_MOUNT_SETATTR = 442;

const cFsopen = libc("syscall", ["i64", "buf", "i64"], "i64");
const cFsconfig = libc("syscall", ["i64", "i64", "i64", "buf", "buf", "i64"], "i64");
const cFsmount = libc("syscall", ["i64", "i64", "i64", "i64"], "i64");
const cMoveMount = libc("syscall", ["i64", "i64", "buf", "i64", "buf", "i64"], "i64");
const cOpenTree = libc("syscall", ["i64", "i64", "buf", "i64"], "i64");
const cMountSetattr = libc("syscall", ["i64", "i64", "buf", "i64", "buf", "i64"], "i64");

export const OPEN_TREE_CLONE = 1;
export const MOUNT_ATTR_IDMAP = 0x100000;

/** fsopen(2): a context to set a file system up; ours to close. */
export function fsopen(fstype: string): number {
  return check("fsopen", cFsopen(SYS_FSOPEN, cstr(fstype), 1), fstype);
}

/**
 * fsconfig(2): sets a string (or, without `value`, a flag) of a context.
 * @throws SyscallError; {@link fsMessages} says more
 */
export function fsconfigSet(context: number, key: string, value?: string): void {
  const command = value === undefined ? 0 : 1;
  check(
    "fsconfig",
    cFsconfig(SYS_FSCONFIG, context, command, cstr(key), value === undefined ? null : cstr(value), 0),
    key,
  );
}

/** fsconfig(FSCONFIG_CMD_CREATE): makes the file system. */
export function fsconfigCreate(context: number): void {
  check("fsconfig", cFsconfig(SYS_FSCONFIG, context, 6, null, null, 0), "create");
}

/** fsmount(2): a detached mount of the context; ours to close. `attributes` are MOUNT_ATTR_* bits. */
export function fsmount(context: number, attributes = 0): number {
  return check("fsmount", cFsmount(SYS_FSMOUNT, context, 1, attributes));
}

/** move_mount(2) of a detached mount onto `target`. */
export function moveMount(mountFd: number, target: Path): void {
  const MOVE_MOUNT_F_EMPTY_PATH = 4;
  check(
    "move_mount",
    cMoveMount(SYS_MOVE_MOUNT, mountFd, cstr(""), -100, cstr(target), MOVE_MOUNT_F_EMPTY_PATH),
    target,
  );
}

/** open_tree(2); flags OPEN_TREE_CLONE | AT_RECURSIVE make a detached copy. */
export function openTree(dirfd: number, path: Path, flags: number): number {
  return check("open_tree", cOpenTree(SYS_OPEN_TREE, dirfd, cstr(path), flags | O_CLOEXEC), path);
}

/** What mount_setattr(2) changes. */
export interface MountAttributes {
  readonly set?: number;
  readonly clear?: number;
  readonly propagation?: number;
  /** User namespace for MOUNT_ATTR_IDMAP. */
  readonly userNsFd?: number;
}

/** mount_setattr(2) (kernel 5.12); flags AT_RECURSIVE, AT_EMPTY_PATH. */
export function mountSetattr(dirfd: number, path: Path, flags: number, change: MountAttributes): void {
  const buffer = alloc(32);
  const fields = view(buffer);
  fields.setBigUint64(0, BigInt(change.set ?? 0), true);
  fields.setBigUint64(8, BigInt(change.clear ?? 0), true);
  fields.setBigUint64(16, BigInt(change.propagation ?? 0), true);
  fields.setBigUint64(24, BigInt(change.userNsFd ?? 0), true);
  check("mount_setattr", cMountSetattr(SYS_MOUNT_SETATTR, dirfd, cstr(path), flags, buffer, 32), path);
}

/** What the kernel has to say about the last failure of a context, "" when nothing. */
export function fsMessages(context: number): string {
  const lines: string[] = [];
  const buffer = alloc(1024);
  for (let length = tryRead(context, buffer); length > 0; length = tryRead(context, buffer)) {
    lines.push(
      text(buffer, length)
        .replace(/^[ewi] /, "")
        .trim(),
    );
  }
  return lines.join("; ");
}
