import { rmdirSync, writeFileSync } from "node:fs";
import { sleep } from "../../lib/retry.ts";
import { type MountInfo, readMountInfo } from "../mounts/mountinfo.ts";
import { cgroupPaths } from "../process/proc.ts";
import { isErrno } from "../syscalls/errors.ts";
import { kill } from "../syscalls/process.ts";
import { type OomWatch, watchV1, watchV2 } from "./oom-watch.ts";
import { readProcs, readText, subtree } from "./read.ts";
import type { CgroupStats } from "./stats.ts";
import { cpuNsV1, oomKillsV1, readV1 } from "./v1.ts";
import { cpuNsV2, OomCountV2, readV2 } from "./v2.ts";

/** How this machine mounts cgroups. "hybrid" has v1 controllers and a v2 tree beside them; v1 is what counts there. */
export interface CgroupLayout {
  readonly mode: "v1" | "v2" | "hybrid";
  /** Mount of each v1 controller, "cpu" -> place; "name=systemd" too. */
  readonly v1: ReadonlyMap<string, CgroupMount>;
  readonly v2: CgroupMount | undefined;
}

/** Where a hierarchy is mounted, and which of its folders that is ("/" unless we run in a cgroup namespace or container). */
export interface CgroupMount {
  readonly target: string;
  readonly root: string;
}

/** Looks at our mounts. */
export function detectCgroups(mounts: readonly MountInfo[] = readMountInfo()): CgroupLayout {
  const v1 = new Map<string, CgroupMount>();
  let v2: CgroupMount | undefined;
  for (const { type, target, root, superOptions } of mounts) {
    if (type === "cgroup2") v2 ??= { target, root };
    if (type !== "cgroup") continue;
    for (const option of superOptions) {
      if (/^(?:rw|ro|xattr|clone_children|noprefix|release_agent=.*)$/.test(option)) continue;
      if (!v1.has(option)) v1.set(option, { target, root });
    }
  }
  // Only "name=systemd" on v1 still means that v2 has the controllers.
  const controllers = [...v1.keys()].some((name) => !name.startsWith("name="));
  return { mode: controllers ? (v2 === undefined ? "v1" : "hybrid") : "v2", v1, v2 };
}

/** One cgroup, in all hierarchies that count. */
export interface Cgroup {
  readonly version: 1 | 2;
  /** Path of the hierarchy's own kind, for messages. */
  readonly path: string;
  /** False once it was removed. */
  exists(): boolean;
  /** @param brief only processor, memory, number of tasks and pressure: a third of the files */
  stats(brief?: boolean): CgroupStats;
  /** Processor time used, nanoseconds: one file. undefined when it is gone or has no such controller. */
  cpuNs(): bigint | undefined;
  /** Pids inside, with those of cgroups below unless `recursive` is false. */
  procs(recursive?: boolean): number[];
  /** SIGKILL to everything inside until nothing is left, for at most `timeoutMs` (default 10 000). @returns true when empty */
  killAll(timeoutMs?: number): Promise<boolean>;
  /** How often the kernel killed inside for want of memory. */
  oomKills(): bigint;
  /**
   * The same for a cgroup whose process the kernel killed, it seems (SIGKILL, sent by nobody that is known): also when it was
   * removed meanwhile, by what its parent counts.
   */
  oomKillsAtLast(): bigint;
  /**
   * Calls `onOom` with the new count whenever {@link oomKills} grew. Events can come late or merged: also compare the count
   * at exit. @returns undefined when the memory controller is missing
   */
  watchOom(onOom: (kills: bigint) => void): OomWatch | undefined;
  /** Stops (or lets go on) everything inside. */
  freeze(frozen: boolean): void;
  /** Removes it and what is below; processes inside make it fail with EBUSY after a second. The root is never removed. */
  remove(): Promise<void>;
}

/** The cgroup of a running process; undefined when it is gone. */
export function cgroupOf(pid: number, layout: CgroupLayout = detectCgroups()): Cgroup | undefined {
  const paths = cgroupPaths(pid);
  return paths === undefined ? undefined : cgroupFrom(paths, layout);
}

/** The cgroup that {@link cgroupPaths} told of a process, which may be gone by now. */
export function cgroupFrom(paths: ReadonlyMap<string, string>, layout: CgroupLayout): Cgroup {
  if (layout.mode === "v2") return open(layout, new Map(), paths.get("") ?? "/");
  return open(layout, paths, paths.get("memory") ?? paths.get("cpu") ?? "/");
}

/** The cgroup of one path ("/default/web") in every hierarchy. */
export function cgroupAt(path: string, layout: CgroupLayout = detectCgroups()): Cgroup {
  const clean = `/${path
    .split("/")
    .filter((part) => part !== "" && part !== "." && part !== "..")
    .join("/")}`;
  return open(layout, new Map([...layout.v1.keys()].map((name) => [name, clean])), clean);
}

function open(layout: CgroupLayout, paths: ReadonlyMap<string, string>, path: string): Cgroup {
  if (layout.mode === "v2") {
    const dir = layout.v2 === undefined ? "" : placeOf(layout.v2, path);
    return unified(dir, path);
  }
  const dirs = new Map<string, string>();
  for (const [name, mount] of layout.v1) {
    const inside = paths.get(name);
    if (inside !== undefined) dirs.set(name, placeOf(mount, inside));
  }
  return legacy(dirs, path);
}

/** Folder of a cgroup below its mount. */
export function placeOf(mount: CgroupMount, path: string): string {
  const inside = mount.root !== "/" && path.startsWith(mount.root) ? path.slice(mount.root.length) : path;
  return `${mount.target}${inside === "/" ? "" : inside}`;
}

function unified(dir: string, path: string): Cgroup {
  const procs = (recursive = true): number[] =>
    unique(recursive ? subtree(dir).flatMap(readProcs) : readProcs(dir));
  const freeze = (frozen: boolean): void => tryWrite(dir, "cgroup.freeze", frozen ? "1" : "0");
  let kills: OomCountV2 | undefined;
  const counted = (): OomCountV2 => {
    kills ??= new OomCountV2(dir);
    return kills;
  };
  return {
    version: 2,
    path,
    exists: () => readText(dir, "cgroup.procs") !== undefined,
    stats: (brief) => readV2(dir, brief),
    cpuNs: () => cpuNsV2(dir),
    procs,
    oomKills: () => counted().now(),
    oomKillsAtLast: () => counted().atLast(),
    watchOom: (onOom) => {
      const grown = whenGrown(() => counted().now(), onOom);
      return watchV2(dir, grown);
    },
    freeze,
    async killAll(timeoutMs = 10_000) {
      // One write kills all at once, fork bombs too (kernel 5.14). Never the root: that would be us.
      if (path !== "/" && readText(dir, "cgroup.events") !== undefined) tryWrite(dir, "cgroup.kill", "1");
      return killLoop(path, procs, timeoutMs);
    },
    remove: () => removeAll(path, [dir]),
  };
}

function legacy(dirs: ReadonlyMap<string, string>, path: string): Cgroup {
  // Every controller has the same processes; the one most likely to be there says which.
  const main = dirs.get("pids") ?? dirs.get("memory") ?? dirs.get("cpu") ?? dirs.get("name=systemd") ?? "";
  const procs = (recursive = true): number[] =>
    unique(recursive ? subtree(main).flatMap(readProcs) : readProcs(main));
  const freeze = (frozen: boolean): void => {
    const freezer = dirs.get("freezer");
    if (freezer !== undefined && path !== "/")
      tryWrite(freezer, "freezer.state", frozen ? "FROZEN" : "THAWED");
  };
  return {
    version: 1,
    path,
    exists: () => readText(main, "cgroup.procs") !== undefined,
    stats: (brief) => readV1(dirs, brief),
    cpuNs: () => cpuNsV1(dirs),
    procs,
    oomKills: () => oomKillsV1(dirs),
    oomKillsAtLast: () => oomKillsV1(dirs),
    watchOom: (onOom) => {
      const memory = dirs.get("memory");
      return memory === undefined
        ? undefined
        : watchV1(
            memory,
            whenGrown(() => oomKillsV1(dirs), onOom),
          );
    },
    freeze,
    async killAll(timeoutMs = 10_000) {
      return killLoop(path, procs, timeoutMs, freeze);
    },
    remove: () => removeAll(path, [...new Set(dirs.values())]),
  };
}

/** v1 tells of the shortage before the kernel picks and kills: the counter grows a moment after the event. */
const OOM_LOOKS_MS = [0, 5, 20, 100, 500];

function whenGrown(count: () => bigint, onOom: (kills: bigint) => void): () => void {
  let last = count();
  let looking = false;
  return () => {
    if (looking) return;
    looking = true;
    void (async () => {
      for (const delay of OOM_LOOKS_MS) {
        await sleep(delay);
        const now = count();
        if (now <= last) continue;
        last = now;
        onOom(now);
        break;
      }
      looking = false;
    })();
  };
}

async function killLoop(
  path: string,
  procs: () => number[],
  timeoutMs: number,
  freeze: (frozen: boolean) => void = () => {},
): Promise<boolean> {
  if (path === "/") throw new Error('kill cgroup "/": refused');
  const end = performance.now() + timeoutMs;
  for (let delay = 1; ; delay = Math.min(delay * 2, 50)) {
    // Frozen processes cannot fork away from us; SIGKILL acts when they thaw.
    freeze(true);
    const pids = procs();
    for (const pid of pids) {
      try {
        kill(pid, 9);
      } catch (error) {
        if (!isErrno(error, "ESRCH")) throw error;
      }
    }
    freeze(false);
    if (pids.length === 0) return true;
    if (performance.now() > end) return false;
    await sleep(delay);
  }
}

async function removeAll(path: string, dirs: readonly string[]): Promise<void> {
  if (path === "/" || path === "") throw new Error('remove cgroup "/": refused');
  for (const dir of dirs) {
    for (let turn = 0; ; turn++) {
      try {
        for (const below of subtree(dir)) rmdirSync(below);
        break;
      } catch (error) {
        if (isErrno(error, "ENOENT")) break;
        // The last process may be on its way out still.
        if (!isErrno(error, "EBUSY") || turn >= 20) throw error;
        await sleep(50);
      }
    }
  }
}

function unique(pids: readonly number[]): number[] {
  return [...new Set(pids)];
}

function tryWrite(dir: string, file: string, value: string): void {
  try {
    writeFileSync(`${dir}/${file}`, value);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENODEV", "EINVAL", "EOPNOTSUPP", "EACCES")) throw error;
  }
}
