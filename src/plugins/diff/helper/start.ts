/**
 * Starts helpers. One that unpacked a layer takes the next: layers of few files would wait longer for a program's start
 * than for their files. A helper has one layer at a time, is killed on any failure, and none is kept when nothing follows.
 */
import { Buffer } from "node:buffer";
import { type ChildHandle, type ExitStatus, spawnProcess } from "../../../platform/process/spawn.ts";
import { reExec } from "../../../platform/runtime.ts";
import { FRAME, frameHeader, type UnpackInstruction } from "./protocol.ts";

const SIGKILL = 9;
/** A helper that gets no layer for this long ends, ms. */
const IDLE_MS = 2_000;
/** Most helpers kept waiting. */
const MOST_IDLE = 4;

/** A helper's process. */
export interface HelperChild extends ChildHandle {
  /** It is gone, and all it said was read. */
  readonly gone: Promise<ExitStatus>;
}

const idle: HelperChild[] = [];
let timer: NodeJS.Timeout | undefined;

/** A helper that has the instruction, fresh or one that has done layers before. */
export function startApply(instruction: UnpackInstruction): HelperChild {
  const child = idle.pop() ?? spawn("-");
  const payload = Buffer.from(JSON.stringify(instruction), "utf8");
  child.stdin?.write(Buffer.concat([frameHeader(FRAME.start, payload.length), payload]));
  return child;
}

/** A helper for one instruction, in its arguments. */
export function startOnce(instruction: object): HelperChild {
  return spawn(JSON.stringify(instruction));
}

/** Takes back a helper that waits for its next layer. Nobody else may use it or listen to it any more. */
export function keep(child: HelperChild): void {
  if (idle.length >= MOST_IDLE) {
    child.kill(SIGKILL);
    return;
  }
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
  return { ...child, gone: child.exited.then((status) => told.then(() => status)) };
}
