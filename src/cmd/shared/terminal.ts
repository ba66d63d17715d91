/** Flags that need a terminal at this end. */
import { invalidArgument } from "../../core/errors.ts";

/** @throws invalid-argument without a terminal: the end of piped input would never reach a process behind one */
export function needTerminal(): void {
  if (process.stdin.isTTY === true) return;
  throw invalidArgument("flag --tty: stdin is not a terminal", {
    hint: "leave out -t: piped input needs none",
  });
}
