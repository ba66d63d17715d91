import { nowNs } from "../../lib/time.ts";
import { peekExited, setChildSubreaper, type WaitStatus, waitpid } from "../syscalls/process.ts";

/** How and when a process ended. */
export interface ReapedExit extends WaitStatus {
  /** Nanoseconds since the epoch, taken when we reaped. */
  readonly exitedAtNs: bigint;
}

/**
 * Exit codes of processes that the runtime does not know: orphans that came to us as subreaper, and children made by
 * posix_spawn. One per process, as SIGCHLD and wait(2) are.
 *
 * The runtime waits for its own children itself. A waitpid(-1) would steal them (Bun then reports wrong exits, Deno dies of
 * ECHILD), so the loop looks with WNOWAIT first and leaves every pid of the `own` set alone (stack.md 3).
 */
const own = new Set<number>();
const waiters = new Map<number, { promise: Promise<ReapedExit>; resolve: (exit: ReapedExit) => void }>();
const early = new Map<number, ReapedExit>();
/** More unclaimed exits than this (orphans nobody asks for) and the oldest is forgotten. */
const EARLY_LIMIT = 8192;

let listening = false;
let keeper: NodeJS.Timeout | undefined;
let subreaper = false;
let scheduled = false;

/** Makes this process the parent of orphaned descendants and reaps all of them from now on. */
export function becomeSubreaper(): void {
  setChildSubreaper(true);
  subreaper = true;
  listen();
  collect();
}

/** Says that the runtime itself waits for `pid`. Call in the tick that spawned it; `disownChild` at its "exit". */
export function ownChild(pid: number): void {
  own.add(pid);
}

/** See {@link ownChild}. */
export function disownChild(pid: number): void {
  own.delete(pid);
  if (subreaper) collect();
}

/** Number of children the runtime itself waits for. */
export function ownChildren(): number {
  return own.size;
}

/**
 * Waits for a process that is, or will become, our child. An exit that came earlier is remembered. Several callers may wait
 * for one pid at the same time.
 */
export function waitForExit(pid: number): Promise<ReapedExit> {
  const known = early.get(pid);
  if (known !== undefined) {
    early.delete(pid);
    return Promise.resolve(known);
  }
  const present = waiters.get(pid);
  if (present !== undefined) return present.promise;
  const { promise, resolve } = Promise.withResolvers<ReapedExit>();
  waiters.set(pid, { promise, resolve });
  listen();
  collect();
  return promise;
}

/** Forgets the waiter of `pid`; its promise stays pending. Stops listening when nothing is left to wait for. */
export function stopWaiting(pid: number): void {
  waiters.delete(pid);
  unlistenIfIdle();
}

/** True when the exit of `pid` came and nobody took it yet. */
export function hasEarlyExit(pid: number): boolean {
  return early.has(pid);
}

function listen(): void {
  if (listening) return;
  listening = true;
  process.on("SIGCHLD", collect);
  // Deno's signal listeners do not keep the event loop alive. The rare look also forgives a lost signal.
  keeper = setInterval(collect, 30_000);
}

function unlistenIfIdle(): void {
  // The signal handler keeps the event loop alive, so a program that waits for nothing could not end.
  if (!listening || subreaper || waiters.size > 0) return;
  listening = false;
  process.removeListener("SIGCHLD", collect);
  clearInterval(keeper);
}

function collect(): void {
  if (subreaper) collectAll();
  else for (const pid of [...waiters.keys()]) reap(pid);
  unlistenIfIdle();
}

function collectAll(): void {
  for (;;) {
    const pid = peekExited();
    if (pid === undefined || pid === 0) return;
    if (own.has(pid)) {
      // The runtime takes this one in a moment; whatever is behind it becomes visible then.
      if (!scheduled) {
        scheduled = true;
        setTimeout(() => {
          scheduled = false;
          collect();
        }, 1);
      }
      // A zombie of the runtime may hide those with waiters.
      for (const waited of [...waiters.keys()]) reap(waited);
      return;
    }
    reap(pid);
  }
}

function reap(pid: number): void {
  const status = waitpid(pid);
  if (status === undefined) return;
  const exit: ReapedExit = { ...status, exitedAtNs: nowNs() };
  const waiter = waiters.get(pid);
  if (waiter !== undefined) {
    waiters.delete(pid);
    waiter.resolve(exit);
    return;
  }
  early.set(pid, exit);
  if (early.size > EARLY_LIMIT) {
    for (const oldest of early.keys()) {
      early.delete(oldest);
      break;
    }
  }
}
