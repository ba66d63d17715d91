import { isBun } from "../runtime.ts";

/** Time after which what still runs is no short command. Milliseconds. */
const LONG_MS = 250;

/**
 * Back to the usual eagerness of the compilers, some time after the start. The executable begins with high thresholds
 * (scripts/lib/bundle.ts): a short command runs most of its code once and would compile more than it gains. Call once, at the start.
 */
export function compileLater(): void {
  if (isBun) setTimeout(() => Bun.unsafe.setJITPolicy(1), LONG_MS).unref();
}
