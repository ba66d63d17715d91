/** Says once in the daemon's log that the installed runc has known holes, and what to do. */
import { failedPrecondition } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { run } from "../../platform/process/spawn.ts";

/** Pause after the first container, so that the question does not slow it down. Milliseconds. */
const DELAY_MS = 2000;

/** First releases without the escapes CVE-2024-21626, CVE-2024-45310 and CVE-2025-31133, -52565, -52881. */
const FIXED: readonly (readonly [number, number, number])[] = [
  [1, 2, 8],
  [1, 3, 3],
  [1, 4, 0],
];
/** What is wrong with a runc, by its program. */
const problems = new Map<string, Promise<string | undefined>>();
const warned = new Set<string>();

/** Looks at the version of `binary` some time after the first call with that name. Never throws. */
export function warnOldRunc(binary: string, log: Logger): void {
  if (warned.has(binary)) return;
  warned.add(binary);
  setTimeout(async () => {
    const problem = await problemOf(binary);
    if (problem !== undefined) log.warn(problem, { binary });
  }, DELAY_MS).unref();
}

/** For `refuse_old_runc`. @throws failed-precondition for a runc with known holes */
export async function refuseOldRunc(binary: string): Promise<void> {
  const problem = await problemOf(binary);
  if (problem !== undefined)
    throw failedPrecondition(problem, {
      hint: 'refuse_old_runc = false in [plugins."io.containerd.runtime.v2.task"] runs it all the same',
    });
}

/** Asks once per program. Never rejects: one that cannot be started is told by the shim. */
function problemOf(binary: string): Promise<string | undefined> {
  const known = problems.get(binary);
  if (known !== undefined) return known;
  const asked = run(binary, ["--version"], { timeoutMs: 5_000 }).then(
    ({ stdout }) => oldRunc(new TextDecoder().decode(stdout)),
    () => undefined,
  );
  problems.set(binary, asked);
  return asked;
}

/** @param text output of `runc --version`. @returns what is wrong with it, undefined when nothing (or it is no runc) */
export function oldRunc(text: string): string | undefined {
  const found = /runc version (\d+)\.(\d+)\.(\d+)(\S*)/.exec(text);
  if (found === null) return undefined;
  const version = [Number(found[1]), Number(found[2]), Number(found[3])] as const;
  const line = FIXED.find(([major, minor]) => version[0] === major && version[1] === minor);
  const safe = line === undefined ? compare(version, [1, 4, 0]) > 0 : compare(version, line) >= 0;
  if (safe) return undefined;
  const name = `${version.join(".")}${found[4] ?? ""}`;
  const grave = compare(version, [1, 1, 14]) < 0 ? "CVE-2024-21626, CVE-2024-45310, " : "";
  return (
    `runc ${name} has known container escapes (${grave}CVE-2025-31133, CVE-2025-52565, CVE-2025-52881): ` +
    "install runc 1.2.8, 1.3.3, 1.4.0 or newer, or your distribution's package with the fixes"
  );
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < 3; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
