import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "./errors.ts";

const cSigprocmask = libc("sigprocmask", ["i32", "buf", "buf"]);
const cSignalfd = libc("signalfd", ["i32", "buf", "i32"]);

const SIG_BLOCK = 0;
const SIG_UNBLOCK = 1;
const SFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;

/** Holds these signals back from this THREAD (the main one, with JavaScript); they wait. */
export function blockSignals(signals: readonly number[]): void {
  check("sigprocmask", cSigprocmask(SIG_BLOCK, setOf(signals), null));
}

/** Lets them through again, the waiting ones at once. */
export function unblockSignals(signals: readonly number[]): void {
  check("sigprocmask", cSigprocmask(SIG_UNBLOCK, setOf(signals), null));
}

/** An fd (close-on-exec) that is readable while one of these signals, which must be blocked, waits. Ours to close. */
export function signalFd(signals: readonly number[]): number {
  return check("signalfd", cSignalfd(-1, setOf(signals), SFD_CLOEXEC_NONBLOCK));
}

function setOf(signals: readonly number[]): Uint8Array {
  const set = alloc(128);
  const fields = view(set);
  let bits = 0n;
  for (const signal of signals) bits |= 1n << BigInt(signal - 1);
  fields.setBigUint64(0, bits, true);
  return set;
}
