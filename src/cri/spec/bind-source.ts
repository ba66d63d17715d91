/**
 * Sources of bind mounts: resolved, and made when nothing is there. A volume that does not answer (a network or FUSE file system)
 * must not hold a thread of the daemon for ever, so whatever leads to one is looked at by a process that can be ended (R23).
 */
import { lstatSync, readlinkSync } from "node:fs";
import { mkdir, realpath } from "node:fs/promises";
import { deadlineExceeded, internal, wrap } from "../../core/errors.ts";
import type { MountInfo } from "../../platform/mounts/mountinfo.ts";
import { RunTimeoutError, run } from "../../platform/process/spawn.ts";
import { reExec } from "../../platform/runtime.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { mountOf } from "./mount-table.ts";

/** File systems of this machine's memory and disks. */
const LOCAL: ReadonlySet<string> = new Set(
  `ext2 ext3 ext4 xfs btrfs zfs f2fs bcachefs reiserfs jfs tmpfs ramfs devtmpfs devpts overlay squashfs erofs iso9660 vfat
  exfat ntfs3 proc sysfs cgroup cgroup2 mqueue hugetlbfs securityfs debugfs tracefs pstore bpf configfs binfmt_misc nsfs
  rootfs selinuxfs efivarfs`.split(/\s+/),
);
/** Symlinks followed before the kernel would give up, too. */
const MAX_LINKS = 40;
/** How long such a file system has to answer. Milliseconds. */
const ANSWER_MS = 30_000;

/** What looking at local parts of a path came to. */
export type LocalPath =
  | { readonly kind: "found"; readonly path: string }
  | { readonly kind: "missing" }
  /** It leads to a file system that may not answer. */
  | { readonly kind: "remote"; readonly mount: MountInfo };

/** Resolves a path without touching anything but local file systems. @throws SyscallError */
export function resolveLocal(path: string, mounts: readonly MountInfo[]): LocalPath {
  let links = 0;
  let at = "";
  const todo = path.split("/").reverse();
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      at = at.slice(0, Math.max(0, at.lastIndexOf("/")));
      continue;
    }
    const next = `${at}/${part}`;
    const mount = mountOf(next, mounts);
    if (mount !== undefined && !LOCAL.has(mount.type)) return { kind: "remote", mount };
    let link: string | undefined;
    try {
      if (lstatSync(next).isSymbolicLink()) link = readlinkSync(next);
    } catch (err) {
      if (isErrno(err, "ENOENT")) return { kind: "missing" };
      throw wrap(err, `failed to stat "${path}"`);
    }
    if (link === undefined) {
      at = next;
      continue;
    }
    if (++links > MAX_LINKS) throw internal(`failed to resolve symlink "${path}": too many links`);
    if (link.startsWith("/")) at = "";
    todo.push(...link.split("/").reverse());
  }
  return { kind: "found", path: at === "" ? "/" : at };
}

/**
 * The source of a bind mount without links. A folder is made when nothing is there, as container engines do.
 * @throws deadline-exceeded when its file system does not answer
 */
export async function bindSource(
  path: string,
  mounts: readonly MountInfo[],
  signal?: AbortSignal,
  answerMs: number = ANSWER_MS,
): Promise<string> {
  const found = resolveLocal(path, mounts);
  if (found.kind === "found") return found.path;
  if (found.kind === "remote") return askRemote(path, found.mount, signal, answerMs);
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
  } catch (err) {
    throw wrap(err, `failed to mkdir "${path}"`);
  }
  return await realpath(path).catch((err: unknown) => {
    throw wrap(err, `failed to resolve symlink "${path}"`);
  });
}

async function askRemote(
  path: string,
  mount: MountInfo,
  signal: AbortSignal | undefined,
  answerMs: number,
): Promise<string> {
  const { command, args, argv0 } = reExec(["helper", "bind-source", path]);
  const done = await run(command, args, {
    ...(argv0 === undefined ? {} : { argv0 }),
    ...(signal === undefined ? {} : { signal }),
    timeoutMs: answerMs,
  }).catch((err: unknown) => {
    if (!(err instanceof RunTimeoutError)) throw wrap(err, `failed to stat "${path}"`);
    throw deadlineExceeded(
      `failed to stat "${path}": the ${mount.type} file system at "${mount.target}" does not answer`,
      { cause: err, hint: "look at its server, or unmount it" },
    );
  });
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  if (done.code !== 0) throw internal(`failed to stat "${path}": ${text(done.stderr).trim()}`);
  return text(done.stdout);
}
