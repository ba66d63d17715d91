import { isBun } from "../runtime.ts";

/**
 * Gives memory that is free back to the kernel: collects garbage and shrinks the heap. Takes some milliseconds; for long
 * idle processes that exist many times. Does nothing under Deno.
 */
export function trimMemory(): void {
  if (!isBun) return;
  Bun.gc(true);
  Bun.shrink();
}

/** How often {@link trimWhenQuiet} looks. Milliseconds. */
const LOOK_MS = 10_000;
/** Up to so much processor time in that time a process counts as quiet: health checks and status questions. Microseconds. */
const QUIET_US = 300_000;
/** Growth below this is not worth the pause. Bytes. */
const WORTH = 8 << 20;
/** What the first collection lets go of is freed by a second one. Milliseconds between them. */
const AGAIN_MS = 1_000;

/**
 * Gives memory back when a busy time is over: calls, or a few long streams. The pause is some 20 ms, so it is made only when
 * the process has grown.
 * @returns what to clear at the end
 */
export function trimWhenQuiet(): NodeJS.Timeout {
  const used = (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  };
  let before = used();
  let low = process.memoryUsage.rss();
  let after = low;
  let busy = true;
  const again = (): void => {
    trimMemory();
    after = process.memoryUsage.rss();
    low = Math.min(low, after);
    before = used();
  };
  const timer = setInterval(() => {
    const now = used();
    const quiet = now - before <= QUIET_US;
    before = now;
    if (!quiet) {
      busy = true;
      return;
    }
    // once after each busy time; what stays then may be needed, so a quiet one must have grown by more
    const rss = process.memoryUsage.rss();
    if (!(busy && rss > low + WORTH) && rss <= after + 4 * WORTH) return;
    busy = false;
    trimMemory();
    setTimeout(again, AGAIN_MS).unref();
  }, LOOK_MS);
  timer.unref();
  return timer;
}

/**
 * Environment for starting this program as a long idle process that exists many times: without the optimizing compilers'
 * code and threads, and with a heap that grows in small steps, it needs about 1.5 MB less of its own. (FFI needs the compiler to
 * be there, so it cannot be off as a whole.)
 */
export const smallProcessEnv: Readonly<Record<string, string>> = {
  BUN_JSC_useDFGJIT: "0",
  BUN_JSC_useBaselineJIT: "0",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_useConcurrentJIT: "0",
  BUN_JSC_useRegExpJIT: "0",
  BUN_JSC_forceMiniVMMode: "1",
  BUN_JSC_numberOfGCMarkers: "1",
  MIMALLOC_PURGE_DELAY: "0",
};
