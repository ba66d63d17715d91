/** `delete`: cleans up after a shim that is gone, and says how its container ended. */
import { readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { sleep } from "../../src/lib/retry.ts";
import { nowNs, splitNs } from "../../src/lib/time.ts";
import { unmountTree } from "../../src/platform/mounts/mounts.ts";
import { removeStaleSocket } from "../../src/platform/net/unix.ts";
import type { ShimArgs } from "../shared/args.ts";
import { DeleteResponse } from "../shared/messages.ts";
import { encode } from "../shared/wire.ts";
import { readExit } from "./exit-record.ts";
import { loadOptions, runcOf } from "./options.ts";
import type { Runc } from "./runc.ts";

/** 128 + SIGKILL: what happens to a container whose shim died. */
const KILLED = 137;
const SIGKILL = 9;
/** Longest wait for a killed init, in milliseconds. */
const DEAD_MS = 3000;

/** @returns DeleteResponse to print */
export async function cleanUp(args: ShimArgs): Promise<Uint8Array> {
  const bundle = args.bundle === "" ? process.cwd() : args.bundle;
  const record = readExit(bundle);
  await end(runcOf(loadOptions(bundle), args.namespace, bundle), args.id, initPid(bundle));
  await unmountTree(join(bundle, "rootfs")).catch((error: unknown) =>
    process.stderr.write(`${String(error)}\n`),
  );
  await removeSocket(bundle);
  return encode(DeleteResponse, {
    pid: record?.pid ?? initPid(bundle),
    exitStatus: record?.status ?? KILLED,
    exitedAt: splitNs(record?.exitedAt ?? nowNs()),
  });
}

/**
 * Ends what runs and forgets the container. Not by one forced delete: that waits until somebody has reaped init, which is up to
 * the machine's own first process now, and may take seconds.
 */
async function end(runc: Runc, id: string, pid: number): Promise<void> {
  await runc.kill(id, SIGKILL, true).catch(() => {}); // nothing runs: the delete tells
  for (const late = performance.now() + DEAD_MS; isRunning(pid) && performance.now() < late; ) await sleep(5);
  try {
    await runc.delete(id, false);
  } catch {
    await runc.delete(id, true).catch((error: unknown) => process.stderr.write(`${String(error)}\n`));
  }
  try {
    // a shim killed in the midst of forgetting leaves it empty: no container for the runtime, and no place for a new one
    rmdirSync(join(runc.options.root, id));
  } catch {
    // gone, as it should be; or not empty
  }
}

/** A zombie does not run. */
function isRunning(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}

function initPid(bundle: string): number {
  try {
    return Number.parseInt(readFileSync(join(bundle, "init.pid"), "utf8"), 10) || 0;
  } catch {
    return 0;
  }
}

/** Removes the dead shim's socket; one that still answers serves other containers of the group. */
async function removeSocket(bundle: string): Promise<void> {
  for (const name of ["bootstrap.json", "address"]) {
    try {
      const path = /unix:\/\/([^"\s]+)/.exec(readFileSync(join(bundle, name), "utf8"))?.[1];
      if (path !== undefined) await removeStaleSocket(path);
    } catch {
      // Not there, or still in use.
    }
  }
}
