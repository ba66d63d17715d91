import { abortError } from "../../core/call.ts";
import { deadlineExceeded, unknownError } from "../../core/errors.ts";
import type { Exit } from "../../core/tasks/tasks.ts";
import { LONGEST_TIMER_MS } from "../../lib/time.ts";
import { Capture, CaptureBudget } from "./capture.ts";
import type { ExecDeps } from "./deps.ts";
import { startExec } from "./process.ts";
import { settlesWithin } from "./timed.ts";

/**
 * Output kept: 16 MiB of a stream, and of both together, less what the message around it takes: more than that the kubelet's
 * and crictl's gRPC clients would refuse altogether.
 */
const KEPT_BYTES = (16 << 20) - 4096;
/** What each stream gets in any case. */
const RESERVED_BYTES = 1 << 20;
/** How long output is waited for that a child left behind holds open, when nothing is configured. Milliseconds. */
const DRAIN_MS = 4000;
/** How long a killed process may take to be gone. Milliseconds. */
const KILL_MS = 10_000;

/** Outcome of a command. */
export interface ExecSyncResult {
  /** In pieces: it may be large, and is only passed on. */
  readonly stdout: readonly Uint8Array[];
  readonly stderr: readonly Uint8Array[];
  readonly exitCode: number;
}

/**
 * Runs a command to its end and keeps what it wrote.
 * @param timeoutMs 0 = none; then it and what it started are killed
 * @param signal the caller is gone: as a timeout
 * @throws deadline-exceeded, not-found, unknown (cannot be started; output still held after a configured drain timeout)
 */
export async function execSync(
  deps: ExecDeps,
  containerId: string,
  command: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ExecSyncResult> {
  const wanted = { stdin: false, stdout: true, stderr: true, tty: false };
  const process = await startExec(deps, containerId, command, wanted, signal);
  const stop = new AbortController();
  const budget = new CaptureBudget(KEPT_BYTES, RESERVED_BYTES);
  const captures = [new Capture(), new Capture()] as const;
  const { stdout, stderr } = process.fifos;
  const drained = Promise.all([
    stdout === undefined ? undefined : captures[0].pump(stdout, budget, 0, stop.signal),
    stderr === undefined ? undefined : captures[1].pump(stderr, budget, 1, stop.signal),
  ]);
  drained.catch(() => {});
  try {
    const exit = await within(process.exited, timeoutMs, signal);
    if (typeof exit === "string") {
      await process.killTree();
      await settlesWithin(process.exited, KILL_MS);
      if (exit === "aborted") throw abortError(signal);
      throw deadlineExceeded(`timeout ${goDuration(timeoutMs)} exceeded: context deadline exceeded`);
    }
    const limit = deps.drainMs > 0 ? deps.drainMs : DRAIN_MS;
    const complete = await settlesWithin(drained, limit);
    if (!complete && deps.drainMs > 0) {
      throw unknownError(
        `failed to drain exec process "${process.execId}" io in ${goDuration(limit)} because io is still held by other processes`,
      );
    }
    return { stdout: captures[0].parts(), stderr: captures[1].parts(), exitCode: exit.status };
  } finally {
    stop.abort();
    await process.dispose();
  }
}

async function within(
  exited: Promise<Exit>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Exit | "timeout" | "aborted"> {
  if (signal.aborted) return "aborted";
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  const other = new Promise<"timeout" | "aborted">((resolve) => {
    if (timeoutMs > 0) timer = setTimeout(() => resolve("timeout"), Math.min(timeoutMs, LONGEST_TIMER_MS));
    onAbort = () => resolve("aborted");
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([exited, other]);
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}

/** Go's text of a duration of whole seconds or milliseconds. */
function goDuration(ms: number): string {
  if (ms < 1000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor(ms / 60_000) % 60;
  const seconds = (ms % 60_000) / 1000;
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
