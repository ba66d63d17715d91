/**
 * Sleep: a shim that was quiet for a while becomes the sleeper (../sleeper), in the same process, and the shim again when
 * anything happens. Asleep it needs three pages of memory instead of 5 MB.
 *
 * The new program finds its state in a file in memory whose fd the environment names. Its executable is the open file of the
 * one that runs now, so a shim comes back as the version it was, whatever was installed meanwhile.
 */
import { readdirSync, readFileSync } from "node:fs";
import { messageOf } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import { parseDuration } from "../../src/lib/human.ts";
import { isBun, isCompiled } from "../../src/platform/runtime.ts";
import { O_RDONLY } from "../../src/platform/syscalls/constants.ts";
import { execFd, memoryProgram } from "../../src/platform/syscalls/exec.ts";
import { close, memfdCreate, open, pread, pwrite, setCloexec } from "../../src/platform/syscalls/files.ts";
import { setProcessName } from "../../src/platform/syscalls/process.ts";
import { blockSignals, signalFd, unblockSignals } from "../../src/platform/syscalls/signals.ts";
import { fstat } from "../../src/platform/syscalls/stat.ts";
import { canSleep, sleeperImage } from "../sleeper/image.ts";
import { quietFor } from "./activity.ts";
import { Awake, Kept, POLLIN, pack, unpack } from "./rest.ts";

/** How long a shim is quiet before it sleeps, when nobody says: a duration, "0" for never. */
export const SLEEP_ENV = "GANTRY_SHIM_SLEEP_AFTER";
const DEFAULT_MS = 10_000;
/** Names the fd of the state. */
const STATE_ENV = "GANTRY_SHIM_STATE";
/** Says which signal woke. */
const SIGNAL_ENV = "GANTRY_SHIM_SIGNAL";

/** Woken before so many quiet times, it waits twice as long for the next sleep, up to so many times as long. */
const SOON = 6;
const LONGEST = 30;
/** Shorter quiet times than this are for tests, and stay as they are. Milliseconds. */
const SHORT_MS = 1000;
/** INT USR1 TERM CHLD: those a shim listens to. The sleeper ignores the first three from its end to {@link Woken.done}. */
const SIGNALS = [2, 10, 15, 17];

interface Saved {
  readonly version: 1;
  readonly fds: readonly number[];
  readonly passing: readonly number[];
  readonly name: string;
  readonly baseMs: number;
  readonly quietMs: number;
  /** When it fell asleep, nanoseconds of the monotonic clock. */
  readonly at: bigint;
  readonly body: unknown;
}

/** A shim that woke up. */
export interface Woken {
  /** What {@link SleepOptions.rest} gave. */
  readonly body: unknown;
  /** Quiet time before the next sleep, milliseconds, longer than asked for when this one was short. */
  readonly quietMs: number;
  /** Number of the signal that woke; 0 when it was something else. */
  readonly signal: number;
  /** Ends what belonged to the sleep only. Call when signals are listened to and all state is back. */
  done(): void;
}

/** The sleep this process woke up from; undefined for one that was just started. */
export function wokenFrom(): Woken | undefined {
  const text = process.env[STATE_ENV];
  if (text === undefined) return undefined;
  const signal = Number(process.env[SIGNAL_ENV] ?? 0);
  delete process.env[STATE_ENV];
  delete process.env[SIGNAL_ENV];
  const fd = Number(text);
  const bytes = new Uint8Array(new ArrayBuffer(Number(fstat(fd).size)));
  for (let at = 0; at < bytes.length; ) {
    const length = pread(fd, bytes.subarray(at), at);
    if (length === 0) break;
    at += length;
  }
  close(fd);
  const saved = unpack(bytes) as Saved;
  if (saved.version !== 1) throw new Error(`wake up: state of version ${String(saved.version)}`);
  setProcessName(saved.name);
  for (const kept of saved.fds) setCloexec(kept, true);
  return {
    body: saved.body,
    quietMs: nextQuiet(saved),
    signal,
    done() {
      for (const passing of saved.passing) close(passing);
      unblockSignals(SIGNALS);
    },
  };
}

function nextQuiet({ baseMs, quietMs, at }: Saved): number {
  const slept = Number(process.hrtime.bigint() - at) / 1e6;
  return slept > baseMs * SOON || baseMs < SHORT_MS ? baseMs : Math.min(quietMs * 2, baseMs * LONGEST);
}

/** The quiet time in force, milliseconds; 0: never. @param configured what the daemon says */
export function sleepAfter(configured: number | undefined): number {
  const text = process.env[SLEEP_ENV];
  if (text === undefined) return configured ?? DEFAULT_MS;
  try {
    return Number(parseDuration(text) / 1_000_000n);
  } catch {
    return DEFAULT_MS;
  }
}

export interface SleepOptions {
  /** The quiet time asked for, milliseconds; 0: never. */
  readonly baseMs: number;
  /** The one before the next sleep. */
  readonly quietMs: number;
  /** The words of this process for `ps`, the name first. */
  readonly words: readonly string[];
  readonly log: Logger;
  /** The shim's state, all in this turn. @throws Awake when it cannot sleep now */
  readonly rest: (kept: Kept) => unknown;
}

/** Sleeps whenever it was quiet for long enough. */
export function sleepWhenQuiet(options: SleepOptions): { stop(): void } {
  const { baseMs, quietMs, log } = options;
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    const left = quietMs - quietFor();
    if (left > 0) {
      timer = setTimeout(look, left);
      return;
    }
    try {
      sleep(options);
    } catch (error) {
      if (error instanceof Awake) {
        log.debug("stays awake", { reason: error.message });
        timer = setTimeout(look, quietMs);
      } else {
        // A shim that cannot sleep is as good as one that need not.
        log.warn("cannot sleep", { reason: messageOf(error) });
      }
    }
  };
  // seen at work on amd64 only: elsewhere it is asked for by name
  const wanted = process.arch === "x64" || process.env[SLEEP_ENV] !== undefined;
  if (wanted && baseMs > 0 && isBun && canSleep()) timer = setTimeout(look, quietMs);
  return { stop: () => clearTimeout(timer) };
}

/** Becomes the sleeper. Returns only by throwing: nothing has changed then. */
function sleep(options: SleepOptions): never {
  const { baseMs, quietMs } = options;
  const kept = new Kept();
  const made: number[] = [];
  const own = (fd: number): number => {
    made.push(fd);
    return fd;
  };
  try {
    const body = options.rest(kept);
    blockSignals(SIGNALS);
    const signals = own(signalFd(SIGNALS));
    kept.pass(signals, false);
    kept.polls.push({ fd: signals, events: POLLIN });
    const exe = own(open("/proc/self/exe", O_RDONLY));
    kept.pass(exe, false);
    const name = readFileSync("/proc/self/comm", "utf8").trim();
    const at = process.hrtime.bigint();
    const lists = { fds: [...kept.fds], passing: [...kept.passing] };
    const saved: Saved = { version: 1, ...lists, name, baseMs, quietMs, at, body };
    const state = own(memfdCreate("gantry-shim-state"));
    const bytes = pack(saved);
    for (let done = 0; done < bytes.length; ) done += pwrite(state, bytes.subarray(done), done);
    const words = isCompiled()
      ? options.words
      : [process.execPath, process.argv[1] ?? "", "shim", ...options.words.slice(1)];
    const env = Object.entries(process.env).map(([key, value]) => `${key}=${value ?? ""}`);
    const plan = {
      polls: kept.polls,
      exe,
      signals,
      signalName: SIGNAL_ENV,
      argv: words,
      env: [...env, `${STATE_ENV}=${state}`],
      name,
    };
    const program = own(memoryProgram(name, sleeperImage(plan)));
    passOn(new Set([...kept.fds, state]));
    execFd(program, options.words, []);
  } catch (error) {
    passOn(new Set());
    for (const fd of made) close(fd);
    kept.discard();
    unblockSignals(SIGNALS);
    throw error;
  }
}

/** Exactly these files (and the standard streams) go on to the next program. */
function passOn(fds: ReadonlySet<number>): void {
  for (const name of readdirSync("/proc/self/fd")) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      setCloexec(fd, !fds.has(fd));
    } catch {
      // That of the folder itself: closed by now.
    }
  }
}
