import { writeSync } from "node:fs";
import type { UnpackReport } from "./protocol.ts";

/** Writes one report line for the daemon. */
export function report(message: UnpackReport): void {
  writeSync(1, `${JSON.stringify(message)}\n`);
}
