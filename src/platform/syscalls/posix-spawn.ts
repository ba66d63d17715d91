import { ffi, libc } from "../ffi/libc.ts";
import { alloc, cstr, view } from "../ffi/memory.ts";
import { SyscallError } from "./errors.ts";

// posix_spawn returns its errno instead of setting it, so these results are positive on failure.
const cSpawnp = libc("posix_spawnp", ["buf", "buf", "buf", "buf", "buf", "buf"]);
const cActionsInit = libc("posix_spawn_file_actions_init", ["buf"]);
const cActionsDestroy = libc("posix_spawn_file_actions_destroy", ["buf"]);
const cActionsDup2 = libc("posix_spawn_file_actions_adddup2", ["buf", "i32", "i32"]);
const cActionsChdir = libc("posix_spawn_file_actions_addchdir_np", ["buf", "buf"]);
const cAttrInit = libc("posix_spawnattr_init", ["buf"]);
const cAttrDestroy = libc("posix_spawnattr_destroy", ["buf"]);
const cAttrSetflags = libc("posix_spawnattr_setflags", ["buf", "i32"]);
const cAttrSetSigmask = libc("posix_spawnattr_setsigmask", ["buf", "buf"]);
const cAttrSetSigdefault = libc("posix_spawnattr_setsigdefault", ["buf", "buf"]);

const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;

/** What to start. `fds[i]` becomes fd i of the child; all others of ours are close-on-exec. */
export interface PosixSpawn {
  readonly command: string;
  /** argv, the name first. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fds: readonly number[];
  readonly cwd?: string;
  readonly newSession?: boolean;
}

/**
 * posix_spawnp(3): for fds that the runtime cannot pass (Deno). The caller reaps the child.
 * @returns the pid
 */
export function posixSpawn(options: PosixSpawn): number {
  const actions = alloc(128);
  const attributes = alloc(512);
  must(cActionsInit(actions));
  must(cAttrInit(attributes));
  try {
    // Targets may collide with sources: put every source out of the way first. dup2 onto itself clears close-on-exec.
    const base = Math.max(options.fds.length, ...options.fds) + 1;
    options.fds.forEach((fd, index) => {
      must(cActionsDup2(actions, fd, base + index));
    });
    options.fds.forEach((_, index) => {
      must(cActionsDup2(actions, base + index, index));
    });
    if (options.cwd !== undefined) must(cActionsChdir(actions, cstr(options.cwd)));
    // An empty mask and default handlers for all: runtimes block and ignore some.
    must(cAttrSetSigmask(attributes, alloc(128)));
    must(cAttrSetSigdefault(attributes, allSignals()));
    const session = options.newSession === true ? POSIX_SPAWN_SETSID : 0;
    must(cAttrSetflags(attributes, session | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
    const argv = vector(options.argv);
    const envp = vector(
      Object.entries(options.env).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`])),
    );
    const pid = alloc(4);
    const errno = cSpawnp(pid, cstr(options.command), actions, attributes, argv.pointers, envp.pointers);
    // Used after the call: the memory lives as long as it.
    if (errno !== 0 || argv.strings.length + envp.strings.length === 0) {
      throw new SyscallError("spawn", errno, options.command);
    }
    return view(pid).getInt32(0, true);
  } finally {
    cActionsDestroy(actions);
    cAttrDestroy(attributes);
  }
}

function allSignals(): Uint8Array {
  const set = alloc(128);
  set.fill(0xff, 0, 8);
  // SIGKILL (9) and SIGSTOP (19) cannot be set, and 32, 33 belong to glibc.
  set[1] = 0xfe;
  set[2] = 0xfb;
  set[3] = 0x7f;
  set[4] = 0xfe;
  return set;
}

function vector(words: readonly string[]): { pointers: Uint8Array; strings: Uint8Array[] } {
  const strings = words.map((word) => cstr(word));
  const pointers = alloc((strings.length + 1) * 8);
  const fields = view(pointers);
  strings.forEach((bytes, index) => {
    fields.setBigUint64(index * 8, ffi().addressOf(bytes), true);
  });
  return { pointers, strings };
}

function must(errno: number): void {
  if (errno !== 0) throw new SyscallError("posix_spawn", Math.abs(errno));
}
