import { libc } from "../ffi/libc.ts";
import { alloc, cstr, view } from "../ffi/memory.ts";
import { check, isErrno } from "./errors.ts";

const cPrctl = libc("prctl", ["i32", "i64", "i64", "i64", "i64"]);
const cPrctlName = libc("prctl", ["i32", "buf", "i64", "i64", "i64"]);
const cWaitid = libc("waitid", ["i32", "u32", "buf", "i32"]);
const cWaitpid = libc("waitpid", ["i32", "buf", "i32"]);
const cKill = libc("kill", ["i32", "i32"]);
const cPidfdOpen = libc("syscall", ["i64", "i64", "i64"], "i64");
const cPidfdSend = libc("syscall", ["i64", "i64", "i64", "buf", "i64"], "i64");
const cUnshare = libc("unshare", ["i32"]);
const cSetns = libc("setns", ["i32", "i32"]);
const cGettid = libc("gettid", []);
const cSethostname = libc("sethostname", ["buf", "i64"]);
const PR_SET_NAME = 15;
const PR_SET_CHILD_SUBREAPER = 36;
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

/** Orphaned descendants become our children. */
export function setChildSubreaper(on = true): void {
  check("prctl", cPrctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0));
}

/** Name of this thread, cut at 15 bytes, as `ps` and `top` show it. */
export function setProcessName(name: string): void {
  check("prctl", cPrctlName(PR_SET_NAME, cstr(name), 0, 0, 0));
}

/** How a child ended: an exit code, or 128 + signal as containerd reports it. */
export interface WaitStatus {
  readonly pid: number;
  /** Exit code, or 128 + signal. */
  readonly code: number;
  /** Signal number when one ended it. */
  readonly signal?: number;
}

/**
 * Pid of a child that ended, left unreaped (WNOWAIT); 0 when none; undefined when there are no children at all.
 * @param pid one child, or undefined for any
 */
export function peekExited(pid?: number): number | undefined {
  const P_ALL = 0;
  const P_PID = 1;
  const info = alloc(128);
  const WNOHANG_WEXITED_WNOWAIT = 1 | 4 | 0x1000000;
  const result = cWaitid(pid === undefined ? P_ALL : P_PID, pid ?? 0, info, WNOHANG_WEXITED_WNOWAIT);
  if (result === -10) return undefined;
  check("waitid", result);
  return view(info).getInt32(16, true);
}

/**
 * waitpid(2) of one pid. NEVER with -1: it would steal the runtime's own children (stack.md 3).
 * @returns undefined with WNOHANG (`block` false) while it runs, or when it is no child of ours
 */
export function waitpid(pid: number, block = false): WaitStatus | undefined {
  if (pid <= 0) throw new RangeError(`waitpid "${pid}": want one process`);
  const status = alloc(4);
  const result = cWaitpid(pid, status, block ? 0 : 1);
  if (result === 0) return undefined;
  try {
    check("waitpid", result);
  } catch (error) {
    // somebody else in this process waited for it
    if (isErrno(error, "ECHILD")) return undefined;
    throw error;
  }
  const word = view(status).getInt32(0, true);
  const signal = word & 0x7f;
  return signal === 0 ? { pid, code: (word >> 8) & 0xff } : { pid, code: 128 + signal, signal };
}

/** kill(2); signal 0 only asks. Negative pids mean process groups. */
export function kill(pid: number, signal: number): void {
  check("kill", cKill(pid, signal), String(pid));
}

/** pidfd_open(2): an fd that stays with this one process; ours to close. */
export function pidfdOpen(pid: number): number {
  return check("pidfd_open", cPidfdOpen(SYS_PIDFD_OPEN, pid, 0), String(pid));
}

/** pidfd_send_signal(2). */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  check("pidfd_send_signal", cPidfdSend(SYS_PIDFD_SEND_SIGNAL, pidfd, signal, null, 0));
}

/** unshare(2) of this THREAD. Only in a helper process that does nothing else (stack.md 10). */
export function unshare(flags: number): void {
  check("unshare", cUnshare(flags));
}

/** setns(2) of this THREAD. Only in a helper process. */
export function setns(fd: number, flags: number): void {
  check("setns", cSetns(fd, flags));
}

/** gettid(2): equals getpid on the main thread. */
export function gettid(): number {
  return cGettid();
}

/** sethostname(2) of the current UTS namespace. */
export function sethostname(name: string): void {
  const bytes = cstr(name);
  check("sethostname", cSethostname(bytes, bytes.indexOf(0)));
}
