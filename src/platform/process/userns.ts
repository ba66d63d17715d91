import { readFileSync, writeFileSync } from "node:fs";
import { libc } from "../ffi/libc.ts";
import { alloc, cstr } from "../ffi/memory.ts";
import { CLONE_NEWUSER, O_CLOEXEC, O_RDONLY } from "../syscalls/constants.ts";
import { check, SyscallError } from "../syscalls/errors.ts";
import { open } from "../syscalls/files.ts";
import { kill } from "../syscalls/process.ts";

const cClone = libc("clone", ["i64", "i64", "i32", "i64"]);
const cDlsym = libc("dlsym", ["i64", "buf"], "i64");
const cMalloc = libc("malloc", ["i64"], "i64");
const cFree = libc("free", ["i64"], "i64");
const cWaitpid = libc("waitpid", ["i32", "buf", "i32"]);
const SIGKILL = 9;
/** Waits for children that tell nobody of their end. */
const WALL = 0x40000000;
/** Bytes; sleep(3) needs hardly any. */
const STACK = 65_536;
/** How long the copy lives when nobody is left to end it. Seconds. */
const ORPHAN_SECONDS = 10;

/** A range of ids: `inside` and up in the namespace are `outside` and up out here. */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly size: number;
}

/**
 * Makes a user namespace with these mappings, for id mapped mounts. A thread of a running program cannot enter a new one, so a
 * copy of this process does for the moment that it takes; it runs nothing and is ended at once.
 * @returns an fd of the namespace, close-on-exec, ours to close
 * @throws SyscallError EPERM, EINVAL (mapping), ENOSPC (user.max_user_namespaces)
 */
export function openUserNamespace(uids: readonly IdRange[], gids: readonly IdRange[]): number {
  const pid = cloneIdle(CLONE_NEWUSER);
  try {
    const text = (ranges: readonly IdRange[]): string =>
      ranges.map((r) => `${r.inside} ${r.outside} ${r.size}\n`).join("");
    writeFileSync(`/proc/${pid}/uid_map`, text(uids));
    writeFileSync(`/proc/${pid}/gid_map`, text(gids));
    return open(`/proc/${pid}/ns/user`, O_RDONLY | O_CLOEXEC);
  } finally {
    kill(pid, SIGKILL);
    check("waitpid", cWaitpid(pid, alloc(4), WALL));
  }
}

/**
 * A copy of this process in new namespaces that only sleeps. It must not come back to JavaScript, whose memory is not all in
 * the copy: it runs sleep(3) of the C library and nothing else. It has no exit signal, so neither the runtime nor our reaper
 * hears of it.
 */
function cloneIdle(flags: number): number {
  const sleep = cDlsym(0, cstr("sleep"));
  if (sleep === 0) throw SyscallError.of("dlsym", "ENOSYS", "sleep");
  const stack = cMalloc(STACK);
  if (stack === 0) throw SyscallError.of("malloc", "ENOMEM");
  try {
    // stacks grow down, and are aligned to 16 bytes
    const top = BigInt(stack) + BigInt(STACK) - 64n;
    return check("clone", cClone(sleep, top & ~15n, flags, ORPHAN_SECONDS));
  } finally {
    cFree(stack);
  }
}

/** Parses `inside:outside:size[,...]`, as mount options and snapshot labels have it. @returns undefined for another form */
export function parseIdRanges(text: string): IdRange[] | undefined {
  const ranges = text.split(",").map((part) => /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(part));
  const out: IdRange[] = [];
  for (const match of ranges) {
    if (match === null) return undefined;
    const [inside = 0, outside = 0, size = 0] = match.slice(1).map(Number);
    if (size < 1 || inside + size > 2 ** 32 || outside + size > 2 ** 32) return undefined;
    out.push({ inside, outside, size });
  }
  return out;
}

/** True inside a user namespace that maps less than everything. */
export function inUserNamespace(): boolean {
  try {
    return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8").trim());
  } catch {
    return false;
  }
}
