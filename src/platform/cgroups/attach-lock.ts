/**
 * The kernel's lock around moves of processes between cgroups. Whoever takes it first waits for an RCU grace period, 5 to 14 ms
 * on a kernel with 250 ticks a second; whoever comes in the 15 ms after that does not. An OCI runtime takes it in the middle of
 * every create and exec, so we take it while the runtime still starts: the waits overlap. It comes to it 15 to 40 ms after its
 * start, so we take it again until it has answered.
 */
import { closeSync, openSync, readSync, write } from "node:fs";
import { lazy } from "../../lib/lazy.ts";
import { cgroupPaths } from "../process/proc.ts";
import { type CgroupLayout, detectCgroups, placeOf } from "./cgroups.ts";

const layout = lazy(() => detectCgroups());
/** Between two turns while a runtime works; shorter than the time in which nobody waits. Milliseconds. */
const AGAIN_MS = 8;
/** Turns after the last call: a runtime that takes longer than all of them waits for something else. */
const TURNS = 10;

let useless = false;
let running = false;
/** Runtimes at work. */
let working = 0;
let turns = 0;
let timer: NodeJS.Timeout | undefined;

/**
 * Calls {@link warmAttachLock} now, and again while `work` is not settled. Several at once keep the lock warm for each other, and
 * every turn of ours would stop their forks. @returns `work`
 */
export function withWarmAttachLock<T>(work: Promise<T>): Promise<T> {
  working += 1;
  turns = TURNS;
  const done = (): void => {
    working -= 1;
    if (working > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
  work.then(done, done);
  if (working === 1) void warmAttachLock();
  timer ??= setInterval(() => {
    if (working === 1 && turns-- > 0 && !useless) void warmAttachLock();
  }, AGAIN_MS);
  return work;
}

/**
 * Takes and releases the lock: moves this process to the cgroup it is in. Callers need not wait for it. Never fails; after a
 * failure (no cgroups, no right to write) it does nothing any more.
 */
export function warmAttachLock(): Promise<void> {
  if (running || useless) return Promise.resolve();
  const own = place();
  if (own === undefined) {
    useless = true;
    return Promise.resolve();
  }
  running = true;
  return new Promise((resolve) => {
    // by a thread's help: it waits
    write(own.procs, own.pid, 0, own.pid.length, null, (err) => {
      running = false;
      // EBUSY comes after the lock was taken: a cgroup v2 folder with controllers for those below
      useless = err !== null && err.code !== "EBUSY";
      resolve();
    });
  });
}

/** The list of processes of the cgroup this process was in when it was opened. */
interface Place {
  /** What /proc says while this process is there. */
  readonly text: string;
  readonly procs: number;
  readonly pid: Buffer;
}

let known: Place | undefined;
/** Open for good: it says where this process is at each reading. */
const whereabouts = lazy(() => openSync("/proc/self/cgroup", "r"));
const WHEREABOUTS_BYTES = 4096;
const buffer = lazy(() => Buffer.alloc(WHEREABOUTS_BYTES));

/** Asked each time: somebody may have moved us, and must not find us moved back. Undefined when that cannot be known. */
function place(): Place | undefined {
  try {
    const length = readSync(whereabouts(), buffer(), 0, WHEREABOUTS_BYTES, 0);
    const text = buffer().toString("latin1", 0, length);
    if (known?.text === text) return known;
    if (known !== undefined) closeSync(known.procs);
    known = undefined;
    const path = ownProcs(layout());
    if (path === undefined) return undefined;
    known = { text, procs: openSync(path, "w"), pid: Buffer.from(String(process.pid)) };
    return known;
  } catch {
    // no /proc, no cgroups, no right to write
    return undefined;
  }
}

function ownProcs(layout: CgroupLayout): string | undefined {
  const paths = cgroupPaths("self");
  if (layout.mode === "v2")
    return layout.v2 === undefined ? undefined : `${placeOf(layout.v2, paths?.get("") ?? "/")}/cgroup.procs`;
  for (const name of ["pids", "memory", "cpu"]) {
    const mount = layout.v1.get(name);
    const path = paths?.get(name);
    if (mount !== undefined && path !== undefined) return `${placeOf(mount, path)}/cgroup.procs`;
  }
  return undefined;
}
