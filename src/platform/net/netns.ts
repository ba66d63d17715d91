import { mkdirSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { text } from "../ffi/memory.ts";
import { run } from "../process/spawn.ts";
import { reExec } from "../runtime.ts";
import { MNT_DETACH, MS_BIND, O_CREAT, O_EXCL, O_RDONLY, UMOUNT_NOFOLLOW } from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, open } from "../syscalls/files.ts";
import { mount, umount2 } from "../syscalls/mount.ts";
import { statfs } from "../syscalls/stat.ts";

/** Magic number of nsfs in statfs(2). */
const NSFS_MAGIC = 0x6e736673;

/**
 * Makes a network namespace that lives on as a mount at `path` (made; its parents too). In a helper process, as a thread that
 * the runtime starts at the wrong moment would stay in the new namespace (stack.md 10).
 * @throws SyscallError EEXIST when the path exists; Error with the helper's words
 */
export async function createNetns(path: string, signal?: AbortSignal): Promise<void> {
  preparePin(path);
  try {
    const self = reExec(["helper", "netns-pin", path]);
    const result = await run(self.command, self.args, {
      ...(self.argv0 === undefined ? {} : { argv0: self.argv0 }),
      timeoutMs: 20_000,
      ...(signal === undefined ? {} : { signal }),
    });
    if (result.code !== 0) {
      throw new Error(
        `create network namespace "${path}": ${text(result.stderr).trim() || `helper exit ${result.code}`}`,
      );
    }
    if (!isPinned(path)) throw SyscallError.of("create network namespace", "EIO", path);
  } catch (error) {
    deleteNetns(path);
    throw error;
  }
}

/** Makes the file that a namespace is mounted on, and its folder. @throws SyscallError EEXIST when the path exists */
export function preparePin(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  close(open(path, O_RDONLY | O_CREAT | O_EXCL, 0o444));
}

/**
 * Keeps the network namespace that a process has as a mount at `path`, so that it outlives the process.
 * @throws SyscallError EEXIST when the path exists
 */
export function pinNetns(pid: number, path: string): void {
  preparePin(path);
  try {
    mount(`/proc/${pid}/ns/net`, path, null, MS_BIND);
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/** Unpins and removes a namespace; nothing there is fine. It ends when its last process does. */
export function deleteNetns(path: string): void {
  for (;;) {
    try {
      umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    } catch (error) {
      if (isErrno(error, "ENOENT")) return;
      if (!isErrno(error, "EINVAL")) throw error;
      break;
    }
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

/** True when a namespace is pinned at `path`. */
export function isPinned(path: string): boolean {
  try {
    return statfs(path).type === NSFS_MAGIC;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
