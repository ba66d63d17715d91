/**
 * Starts helpers. One that unpacked a layer takes the next: layers of few files would wait longer for a program's start
 * than for their files. A helper has one layer at a time, is killed on any failure, and none is kept when nothing follows.
 */
import { Buffer } from "node:buffer";
import { availableParallelism } from "node:os";
import { type ChildHandle, type ExitStatus, spawnProcess } from "../../../platform/process/spawn.ts";
import { reExec } from "../../../platform/runtime.ts";
import { FRAME, frameHeader, type UnpackInstruction } from "./protocol.ts";

const SIGKILL = 9;
/** A helper that gets no layer for this long ends, ms: images are often pulled one after the other. */
const IDLE_MS = 10_000;
/** Most helpers kept waiting. */
const MOST_IDLE = 4;
/** How long a layer waits for a helper to become free while every core has one, ms. */
const WAIT_MS = 100;
const cores = availableParallelism();

/** Layers a helper takes before another one is started: whatever piles up in it ends. */
const MOST_LAYERS = 100;

/** A helper's process. */
export interface HelperChild extends ChildHandle {
  /** Layers it was given. */
  layers: number;
  /** It is gone, and all it said was read. */
  readonly gone: Promise<ExitStatus>;
}

const idle: HelperChild[] = [];
/** Layers that would take the next free helper. */
const waiting: ((child: HelperChild) => void)[] = [];
/** Helpers that have files to write: those that only wait for the layer below are none. */
const working = new Set<HelperChild>();
let timer: NodeJS.Timeout | undefined;

/**
 * A helper for layers: one that waits, one that is about to, or a new one.
 * @param small the layer takes less time than a new helper's start while another one works
 */
export async function forLayer(small: boolean): Promise<HelperChild> {
  const ready = idle.pop();
  if (ready !== undefined) {
    working.add(ready);
    return ready;
  }
  if (working.size < (small ? 1 : cores)) return fresh();
  // The cores have work: a new process would only take time from the layers that are nearly done.
  return new Promise((resolve) => {
    const waiter = (child: HelperChild): void => {
      clearTimeout(late);
      resolve(child);
    };
    const late = setTimeout(() => {
      waiting.splice(waiting.indexOf(waiter), 1);
      resolve(fresh());
    }, WAIT_MS);
    waiting.push(waiter);
  });
}

/** A new helper for layers. */
function fresh(): HelperChild {
  const child = spawn("-");
  working.add(child);
  void child.exited.then(() => rest(child));
  return child;
}

/**
 * Tells that a helper has nothing to do but to wait for the layer below: a core is free. What waits may be that very
 * layer, so it gets a helper of its own.
 */
export function rest(child: HelperChild): void {
  if (working.delete(child) && working.size < cores) waiting.shift()?.(fresh());
}

/** Tells a helper its layer. */
export function giveLayer(child: HelperChild, instruction: UnpackInstruction): void {
  child.layers++;
  const payload = Buffer.from(JSON.stringify(instruction), "utf8");
  child.stdin?.write(Buffer.concat([frameHeader(FRAME.start, payload.length), payload]));
}

/** A helper for one instruction, in its arguments. */
export function startOnce(instruction: object): HelperChild {
  return spawn(JSON.stringify(instruction));
}

/** Takes back a helper that waits for its next layer. Nobody else may use it or listen to it any more. */
export function keep(child: HelperChild): void {
  if (child.layers >= MOST_LAYERS) {
    child.kill(SIGKILL);
    return;
  }
  const waiter = waiting.shift();
  if (waiter !== undefined) {
    working.add(child);
    waiter(child);
    return;
  }
  working.delete(child);
  if (idle.length >= MOST_IDLE) {
    child.kill(SIGKILL);
    return;
  }
  park(child);
}

/** Starts a helper before the layer it is for: its start then takes no time of its own. Nothing when there are some. */
export function expectLayer(): void {
  if (idle.length === 0 && working.size === 0) park(spawn("-"));
}

/** Keeps a helper for the next layer, for a while. */
function park(child: HelperChild): void {
  idle.push(child);
  void child.exited.then(() => {
    const at = idle.indexOf(child);
    if (at >= 0) idle.splice(at, 1);
  });
  clearTimeout(timer);
  timer = setTimeout(() => {
    for (const spare of idle.splice(0)) spare.kill(SIGKILL);
  }, IDLE_MS);
  timer.unref();
}

function spawn(argument: string): HelperChild {
  const { command, args, argv0 } = reExec(["unpack", argument], "gantry-unpack");
  const child = spawnProcess(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    // Nothing of the daemon's environment concerns a helper, and some of it changes how a runtime behaves.
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", TMPDIR: process.env["TMPDIR"] ?? "/tmp" },
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  child.stdin?.on("error", () => {}); // a dead helper is told by its exit
  const told = new Promise<void>((resolve) => {
    child.stdout?.once("end", resolve);
    child.stdout?.once("close", resolve);
  });
  return { ...child, layers: 0, gone: child.exited.then((status) => told.then(() => status)) };
}
