/** How init ended, in the bundle: a daemon that was down, or whoever cleans up after a killed shim, learns the truth. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Exit } from "../../src/core/tasks/tasks.ts";

const NAME = "exit.json";

/** Writes the record; all or nothing. */
export function writeExit(bundle: string, exit: Exit): void {
  const path = join(bundle, NAME);
  const text = JSON.stringify({ pid: exit.pid, status: exit.status, exitedAt: String(exit.exitedAt) });
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** The record; undefined when init has not ended under a living shim. */
export function readExit(bundle: string): Exit | undefined {
  try {
    const raw = JSON.parse(readFileSync(join(bundle, NAME), "utf8")) as Record<string, unknown>;
    const { pid, status, exitedAt } = raw;
    if (typeof pid !== "number" || typeof status !== "number" || typeof exitedAt !== "string")
      return undefined;
    return { pid, status, exitedAt: BigInt(exitedAt) };
  } catch {
    return undefined;
  }
}
