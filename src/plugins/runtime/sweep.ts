/**
 * The boot sweep: what the run-time folders, the mounts and the processes of this machine hold against the tasks that are known.
 * A bundle is made before anything else of a task, and goes last, so whatever has none belongs to nobody.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { DEFAULT_SOCKET_DIR, socketPath } from "../../../shims/shared/address.ts";
import type { Logger } from "../../core/log.ts";
import { sleep } from "../../lib/retry.ts";
import { cgroupOf, detectCgroups, placeOf } from "../../platform/cgroups/cgroups.ts";
import { writeFileAtomic } from "../../platform/fs/atomic-write.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import { readMountInfo } from "../../platform/mounts/mountinfo.ts";
import { unmountTree } from "../../platform/mounts/mounts.ts";
import { removeStaleSocket } from "../../platform/net/unix.ts";
import { close } from "../../platform/syscalls/files.ts";
import { pidfdOpen, pidfdSendSignal } from "../../platform/syscalls/process.ts";
import { type Bundle, readAddress } from "./bundle.ts";

const SIGKILL = 9;
const KILL_MS = 3_000;
const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const RUNC_ROOT = "/run/containerd/runc";

/** True when the machine was started anew since these folders were written; from then on this boot is written down. */
export async function isNewBoot(state: string): Promise<boolean> {
  const path = join(state, "boot-id");
  const now = readText(BOOT_ID).trim();
  const then = readText(path).trim();
  if (then === now) return false;
  await mkdir(state, { recursive: true, mode: 0o700 });
  await writeFileAtomic(path, `${now}\n`, { mode: 0o600, durable: false });
  // without a note these folders are new, or those of an older version of this daemon
  return then !== "";
}

/**
 * Removes what a task left that the end of the machine has ended: nothing of it runs, so nothing is killed (its pid may be
 * somebody else's by now).
 */
export async function forgetBundle(bundle: Bundle): Promise<void> {
  let root = RUNC_ROOT;
  try {
    const kept = JSON.parse(readText(join(bundle.path, "options.json"))) as { root?: string };
    if (kept.root !== undefined && kept.root !== "") root = kept.root;
  } catch {
    // a bundle without options: the runtime was never called
  }
  await removeTree(join(root, bundle.namespace, bundle.id));
  // what stays mounted makes the removal below fail, which tells it; a socket that stays is in nobody's way
  await unmountTree(join(bundle.path, "rootfs")).catch(() => {});
  const socket = readAddress(bundle)?.address;
  if (socket !== undefined) await removeStaleSocket(socket).catch(() => {});
  await Promise.all([removeTree(bundle.path), removeTree(bundle.work)]);
}

/** What the sweep compares. */
export interface SweepOptions {
  readonly state: string;
  readonly root: string;
  /** gRPC address of the daemon, which is in the words of its shims. */
  readonly address: string;
  /** Folder of the shims' sockets, "" for the usual one. */
  readonly socketDir: string;
  /** Where the shims of the known tasks listen. */
  readonly knownSockets: ReadonlySet<string>;
  readonly isKnown: (namespace: string, id: string) => boolean;
  /** Pids of the shims behind the known tasks and sandboxes; asked only when there is a shim to be doubted; undefined when not all are known. */
  readonly knownShims: () => Promise<ReadonlySet<number> | undefined>;
  readonly log: Logger;
}

/** Sweeps; what cannot be removed is logged and stays. */
export async function sweep(options: SweepOptions): Promise<void> {
  const steps = [sweepShims, sweepMounts, sweepWork];
  for (const step of steps)
    await step(options).catch((err: unknown) => options.log.warn("boot sweep", { step: step.name, err }));
}

/** Work folders outlive a reboot, bundles need not. */
async function sweepWork({ root, isKnown, log }: SweepOptions): Promise<void> {
  for (const namespace of await folders(root)) {
    for (const id of await folders(join(root, namespace))) {
      if (isKnown(namespace, id)) continue;
      await removeTree(join(root, namespace, id));
      log.info("removed the work folder of a task that is gone", { namespace, id });
    }
  }
}

async function sweepMounts({ state, isKnown, log }: SweepOptions): Promise<void> {
  const lost = new Set<string>();
  for (const { target } of readMountInfo()) {
    const [namespace, id] = target.startsWith(`${state}/`) ? target.slice(state.length + 1).split("/") : [];
    if (namespace !== undefined && id !== undefined && !isKnown(namespace, id))
      lost.add(join(state, namespace, id));
  }
  for (const path of lost) {
    await unmountTree(path);
    await removeTree(path);
    log.info("took down the mounts of a task that is gone", { path });
  }
}

/** Shims of this daemon that hold none of its tasks: their containers are nobody's either. */
async function sweepShims({
  address,
  state,
  socketDir,
  knownSockets,
  isKnown,
  knownShims,
  log,
}: SweepOptions): Promise<void> {
  // a shim without a socket that nobody knows cannot be: the list of all processes is long
  const dir = socketDir === "" ? DEFAULT_SOCKET_DIR : socketDir;
  const sockets = await readdir(dir).catch((): string[] => []);
  if (sockets.every((name) => knownSockets.has(join(dir, name)))) return;
  // a shim stands in the bundle of one of its containers; one that stands elsewhere is not for this plugin to judge
  const doubted = shimsOf(address).filter(({ cwd }) => {
    if (!cwd.startsWith(`${state}/`)) return false;
    const [namespace = "", id = ""] = cwd.slice(state.length + 1).split("/");
    return !isKnown(namespace, id);
  });
  if (doubted.length === 0) return;
  const known = await knownShims();
  if (known === undefined)
    return log.warn("shims that hold no known task are left alone: not every other one answers");
  for (const { pid, namespace, id } of doubted) {
    if (known.has(pid)) continue;
    log.warn("ending a shim that holds no known task", { pid, namespace, id });
    const children = readText(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
    const own = cgroupOf(pid)?.path;
    const cgroups = children.map((child) => cgroupOf(child)).filter((c) => c !== undefined && c.path !== own);
    for (const victim of [...children, pid]) kill(victim);
    for (const cgroup of cgroups) {
      await cgroup?.killAll(KILL_MS);
      await cgroup?.remove().catch((err: unknown) => log.warn("remove cgroup", { path: cgroup.path, err }));
      // a machine with both versions: runtimes make a folder in the second, too
      const { mode, v2 } = detectCgroups();
      if (cgroup !== undefined && mode === "hybrid" && v2 !== undefined)
        await rmdir(placeOf(v2, cgroup.path)).catch(() => {}); // most have none
    }
    // its socket is not stale before it is dead
    for (const late = performance.now() + KILL_MS; runs(pid) && performance.now() < late; ) await sleep(5);
    await removeStaleSocket(socketPath(socketDir, address, namespace, id)).catch(() => {});
    await removeTree(join(RUNC_ROOT, namespace, id));
  }
}

interface ShimProcess {
  readonly pid: number;
  readonly namespace: string;
  readonly id: string;
  readonly cwd: string;
}

/** Shims that were started for the daemon at `address`, of any make: all have the same words. */
function shimsOf(address: string): ShimProcess[] {
  const out: ShimProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const words = readText(`/proc/${name}/cmdline`).split("\0");
    if (!/(^|\/)containerd-shim-[\w-]+$/.test(words[0] ?? "")) continue;
    const value = (flag: string): string => words[words.indexOf(flag) + 1] ?? "";
    if (!words.includes("-id") || value("-address") !== address) continue;
    try {
      // " (deleted)" behind it when the folder is gone
      out.push({
        pid: Number(name),
        namespace: value("-namespace"),
        id: value("-id"),
        cwd: readlinkSync(`/proc/${name}/cwd`),
      });
    } catch {
      // ended meanwhile
    }
  }
  return out;
}

function runs(pid: number): boolean {
  const stat = readText(`/proc/${pid}/stat`);
  return stat !== "" && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

function kill(pid: number): void {
  try {
    const fd = pidfdOpen(pid);
    try {
      pidfdSendSignal(fd, SIGKILL);
    } finally {
      close(fd);
    }
  } catch {
    // ended meanwhile
  }
}

async function folders(path: string): Promise<string[]> {
  if (!existsSync(path)) return [];
  const entries = await readdir(path, { withFileTypes: true });
  return entries.filter((e) => e.isDirectory()).map((e) => e.name);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
