/** Signal names of Linux. */
import { constants } from "node:os";
import { invalidArgument } from "../../core/errors.ts";

/** Parses `SIGTERM`, `term`, `15`, `SIGRTMIN+3`. @throws invalid-argument */
export function parseSignal(text: string): number {
  if (/^[0-9]+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= 64) return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const real = /^RTM(IN|AX)(?:([+-])([0-9]+))?$/.exec(name);
  if (real !== null) {
    const base = real[1] === "IN" ? 34 : 64;
    const number = base + (real[2] === "-" ? -1 : 1) * Number(real[3] ?? "0");
    if (number >= 34 && number <= 64) return number;
  }
  const known: Readonly<Record<string, number>> = constants.signals;
  const number = Object.hasOwn(known, `SIG${name}`) ? known[`SIG${name}`] : undefined;
  if (number === undefined)
    throw invalidArgument(`unknown signal "${text}"`, {
      hint: "use a name such as SIGTERM or a number from 1 to 64",
    });
  return number;
}
