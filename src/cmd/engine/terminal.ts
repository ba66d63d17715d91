/** Flags that need a terminal at this end. */
import { invalidArgument } from "../../core/errors.ts";

/** @throws invalid-argument for `-it` without a terminal: its end of input would never reach the process */
export function needTerminal(options: Readonly<Record<string, unknown>>): void {
  if (options["tty"] !== true || options["interactive"] !== true || process.stdin.isTTY === true) return;
  throw invalidArgument("flag --tty: stdin is not a terminal", {
    hint: "leave out -t: -i alone sends piped input",
  });
}
