/** THE list of plugins: one line each. Order does not matter; boot sorts by requirements. */
import type { Builtin } from "./boot.ts";

export const builtins: readonly Builtin[] = [];
