/**
 * A fresh Debian 12 machine with systemd as process 1, in a container on this kernel (systemd-nspawn): up in about a second.
 * Its root is an overlay over the cached one and gone after `stop`. Needs root. The cgroup v1 trees are the host's, so only
 * one machine runs at a time (a lock in the cache).
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CACHE } from "../../fixtures/images.ts";
import { mountsBelow, type Said } from "../../peers/peer.ts";

/** The folder with the .deb files of an offline installation. */
export const DEBS = join(CACHE, "machine-bookworm-debs");
/** Kept on a real file system: an overlay cannot be the upper layer of another. */
const REAL_DIRS = ["/var/lib/containerd"];
const ENV = [
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  "HOME=/root",
  "LANG=C.UTF-8",
];

export interface Machine extends AsyncDisposable {
  /** Runs a shell command as a transient service. Never throws. */
  run(command: string, timeout?: number): Said;
  /** Copies a file or folder of this host to a path in the machine. */
  put(from: string, to: string): void;
  /** Path on this host of a path in the machine (while it runs). */
  path(inside: string): string;
  stop(): Promise<void>;
}

/** Boots a machine and waits until systemd says that it is up. */
export async function startMachine(): Promise<Machine> {
  execFileSync(join(import.meta.dirname, "make-root.sh"), { stdio: ["ignore", "ignore", "inherit"] });
  // In the cache and not in /tmp, which may be a tmpfs: an overlay wants one file system for its layers.
  const dir = mkdtempSync(join(CACHE, "machine-run."));
  for (const sub of ["root", "up", "wk"]) mkdirSync(join(dir, sub));
  const binds = REAL_DIRS.map((path) => {
    mkdirSync(join(dir, "real", path), { recursive: true });
    return `--bind=${join(dir, "real", path)}:${path}`;
  });
  const console = openSync(join(dir, "console"), "a");
  const script =
    'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/up,workdir=$2/wk" "$2/root" && shift 2 && exec systemd-nspawn "$@"';
  const nspawn = [
    "-q",
    "-D",
    join(dir, "root"),
    "--boot",
    "-M",
    `gantry${process.pid}`,
    "--register=no",
    "--keep-unit",
  ];
  nspawn.push(
    "--private-network",
    "--capability=all",
    "--system-call-filter=@keyring bpf perf_event_open",
    ...binds,
  );
  nspawn.push("--link-journal=no", "--resolv-conf=off", "--timezone=off", "--kill-signal=SIGRTMIN+3");
  const child = spawn(
    "flock",
    [
      "--no-fork",
      join(CACHE, "machine.lock"),
      "unshare",
      "-m",
      "--propagation",
      "private",
      "bash",
      "-c",
      script,
      "-",
    ].concat([join(CACHE, "machine-bookworm"), dir], nspawn),
    {
      env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "0", SYSTEMD_NSPAWN_API_VFS_WRITABLE: "1" },
      stdio: ["ignore", console, console],
      detached: true,
    },
  );
  try {
    return await booted(child, dir);
  } catch (err) {
    await stop(child, dir);
    throw err;
  }
}

async function booted(child: ChildProcess, dir: string): Promise<Machine> {
  const leader = await poll(180_000, () => (child.exitCode === null ? leaderOf(child.pid ?? -1) : undefined));
  if (leader === undefined) {
    throw new Error(`start machine: ${readFileSync(join(dir, "console"), "utf8").slice(-800)}`);
  }
  const enter = (...command: string[]): string[] => {
    const root = `/proc/${leader}/root`;
    const spaces = [
      "-t",
      String(leader),
      "-m",
      "-u",
      "-i",
      "-n",
      "-p",
      "-C",
      `--root=${root}`,
      `--wd=${root}`,
    ];
    return [...spaces, "env", "-i", ...ENV, ...command];
  };
  const nsenter = (timeout: number, ...command: string[]): Said => {
    const done = spawnSync("nsenter", enter(...command), { encoding: "utf8", timeout });
    return {
      code: done.status ?? 128,
      out: done.stdout ?? "",
      err: done.error === undefined ? done.stderr : String(done.error),
    };
  };
  const up = await poll(60_000, () => {
    const state = nsenter(10_000, "systemctl", "is-system-running").out.trim();
    return state === "running" || state === "degraded" ? state : undefined;
  });
  if (up === undefined) throw new Error("start machine: systemd did not come up in 60 s");
  // nspawn gives the v1 controllers read-only; a container engine needs them writable.
  const remount = 'for d in /sys/fs/cgroup/*/; do [ -L "${d%/}" ] || mount -o remount,bind,rw "${d%/}"; done';
  nsenter(10_000, "sh", "-c", remount);
  const path = (inside: string): string => join(`/proc/${leader}/root`, inside);
  return {
    run: (command, timeout = 120_000) => {
      const unit = [
        "systemd-run",
        "-q",
        "--pipe",
        "--wait",
        "--collect",
        "--service-type=exec",
        "-p",
        "TimeoutStopSec=5",
      ];
      return nsenter(timeout, ...unit, "-p", "WorkingDirectory=/root", "/bin/bash", "-c", command);
    },
    put: (from, to) => {
      mkdirSync(dirname(path(to)), { recursive: true });
      cpSync(from, path(to), { recursive: true, verbatimSymlinks: true });
    },
    path,
    stop: () => stop(child, dir),
    [Symbol.asyncDispose]: () => stop(child, dir),
  };
}

/** The machine's process 1: the child of nspawn that became systemd (the first child is a short-lived helper). */
function leaderOf(pid: number): number | undefined {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean);
  const found = children.find((child) => read(`/proc/${child}/comm`).trim() === "systemd");
  return found === undefined ? undefined : Number(found);
}

async function stop(child: ChildProcess, dir: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGTERM");
    const hard = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await gone;
    clearTimeout(hard);
  }
  // nspawn leaves empty cgroups behind; rmdir takes only empty ones.
  for (const tree of existsSync("/sys/fs/cgroup/systemd") ? readdirSync("/sys/fs/cgroup") : []) {
    for (const name of ["payload", "supervisor"]) removeEmpty(join("/sys/fs/cgroup", tree, name));
  }
  for (const target of mountsBelow(dir)) spawnSync("umount", ["-l", target]);
  rmSync(dir, { recursive: true, force: true });
}

function removeEmpty(cgroup: string): void {
  if (existsSync(cgroup) && statSync(cgroup).isDirectory())
    spawnSync("find", [cgroup, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
}

async function poll<T>(timeout: number, look: () => T | undefined): Promise<T | undefined> {
  for (const end = Date.now() + timeout; Date.now() < end; await delay(50)) {
    const found = look();
    if (found !== undefined) return found;
  }
  return undefined;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Writes a small file into the machine. */
export function write(machine: Machine, path: string, text: string): void {
  mkdirSync(dirname(machine.path(path)), { recursive: true });
  writeFileSync(machine.path(path), text);
}
