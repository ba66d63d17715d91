/** Plugins that a killed daemon left running: ended before anything is undone, so that no late ADD follows our DEL. */
import { readFileSync } from "node:fs";
import { sleep } from "../../lib/retry.ts";
import { killIdentified } from "../../platform/process/pidfd.ts";
import { allPids, identify, isAlive } from "../../platform/process/proc.ts";

const SIGKILL = 9;
/** How long their end is waited for. Milliseconds. */
const WAIT_MS = 5_000;

/** Ends every plugin (and what it started) that works for one of these containers. @returns how many there were */
export async function endPlugins(containerIds: ReadonlySet<string>): Promise<number> {
  if (containerIds.size === 0) return 0;
  const found = allPids().flatMap((pid) => {
    const identity = pid === process.pid ? undefined : identify(pid);
    return identity !== undefined && containerIds.has(containerOf(pid) ?? "") ? [identity] : [];
  });
  for (const identity of found) killIdentified(identity, SIGKILL);
  const end = performance.now() + WAIT_MS;
  while (found.some(isAlive) && performance.now() < end) await sleep(10);
  return found.length;
}

/** The container that a process was told of as a CNI plugin. */
function containerOf(pid: number): string | undefined {
  let environment: string;
  try {
    environment = readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return undefined;
  }
  if (!environment.includes("CNI_COMMAND=")) return undefined;
  return /(?:^|\0)CNI_CONTAINERID=([^\0]*)/.exec(environment)?.[1];
}
