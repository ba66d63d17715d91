/**
 * Starts helpers. While layer follows layer, the next helper is started ahead: it has loaded everything and waits for its
 * instruction on stdin, so that a layer of few files does not wait for a program's start. Nothing is kept when idle.
 */
import { Buffer } from "node:buffer";
import { type ChildHandle, spawnProcess } from "../../../platform/process/spawn.ts";
import { reExec } from "../../../platform/runtime.ts";

const SIGKILL = 9;
/** Layers that follow each other within this time count as a row, ms. */
const ROW_MS = 2_000;
/** A spare that is not used for this long ends, ms. */
const SPARE_MS = 3_000;

let spare: ChildHandle | undefined;
let timer: NodeJS.Timeout | undefined;
let lastStart = Number.NEGATIVE_INFINITY;

/** A helper with its instruction, fresh or kept ready. */
export function startHelper(instruction: object): ChildHandle {
  const now = performance.now();
  const inRow = now - lastStart < ROW_MS;
  lastStart = now;
  const text = JSON.stringify(instruction);
  const ready = takeSpare();
  if (inRow) setImmediate(keepSpare);
  if (ready === undefined) return spawn(text);
  const body = Buffer.from(text, "utf8");
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  ready.stdin?.write(Buffer.concat([length, body]));
  return ready;
}

function takeSpare(): ChildHandle | undefined {
  const taken = spare;
  spare = undefined;
  clearTimeout(timer);
  return taken;
}

function keepSpare(): void {
  if (spare !== undefined) return;
  const child = spawn("-");
  child.stdin?.on("error", () => {});
  spare = child;
  void child.exited.then(() => {
    if (spare === child) spare = undefined;
  });
  timer = setTimeout(() => takeSpare()?.kill(SIGKILL), SPARE_MS);
  timer.unref();
}

function spawn(argument: string): ChildHandle {
  const { command, args, argv0 } = reExec(["unpack", argument], "gantry-unpack");
  return spawnProcess(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    // Nothing of the daemon's environment concerns a helper, and some of it changes how a runtime behaves.
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", TMPDIR: process.env["TMPDIR"] ?? "/tmp" },
    ...(argv0 === undefined ? {} : { argv0 }),
  });
}
