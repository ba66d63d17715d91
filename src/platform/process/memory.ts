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
