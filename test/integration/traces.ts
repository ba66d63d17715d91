/** What an engine under test has on the machine, read from the kernel and the file system, never from the engine. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** What tells one engine's traces from everybody else's. */
export interface Marks {
  readonly dir: string;
  readonly tag: string;
  readonly pid: number;
  readonly address: string;
}

/** A process that belongs to an engine. */
export interface ProcessTrace {
  readonly pid: number;
  readonly why: string;
  /** A child of the daemon that has nothing to do with a container yet: a warm shim, a helper. */
  readonly spare: boolean;
}

const MAX_CGROUP_DEPTH = 8;

/** Entries of a folder, none when it is gone. */
export function entries(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** Shims, helpers, clients and containers of an engine; not its daemon, not zombies. */
export function processesOf(marks: Marks): ProcessTrace[] {
  const found: ProcessTrace[] = [];
  for (const name of entries("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === marks.pid || pid === process.pid) continue;
    const stat = read(`/proc/${pid}/stat`);
    const after = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (stat === "" || after[0] === "Z" || after[0] === "X") continue;
    const argv = read(`/proc/${pid}/cmdline`).split("\0").filter(Boolean);
    const named =
      link(`/proc/${pid}/cwd`).startsWith(`${marks.dir}/`) ||
      argv.some((arg) => arg.includes(`${marks.dir}/`)) ||
      read(`/proc/${pid}/cgroup`).includes(marks.tag);
    const spare = !named;
    if (spare && Number(after[1]) !== marks.pid) continue;
    found.push({ pid, spare, why: [argv[0] ?? "?", ...argv.filter((a) => a.includes(marks.tag))].join(" ") });
  }
  return found;
}

/** Children of a process that ended and were not waited for, as their names. */
export function zombiesOf(pid: number): string[] {
  return entries("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => read(`/proc/${name}/stat`))
    .filter((stat) => {
      const after = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return after[0] === "Z" && Number(after[1]) === pid;
    })
    .map((stat) => stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")));
}

/** Processes of an engine that has ended; its number may be another process's by now, so its children are not asked for. */
export const strays = (marks: Marks): number[] =>
  processesOf({ dir: marks.dir, tag: marks.tag, address: marks.address, pid: -1 })
    .filter((found) => !found.spare)
    .map((found) => found.pid);

/** Folders of cgroups with the engine's mark, outermost first. */
export function cgroupsOf(marks: Marks): string[] {
  const found: string[] = [];
  const walk = (dir: string, depth: number): void => {
    let names: string[];
    try {
      names = readdirSync(dir, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name);
    } catch {
      return;
    }
    for (const name of names) {
      const path = join(dir, name);
      if (path.includes(marks.tag)) found.push(path);
      if (depth < MAX_CGROUP_DEPTH) walk(path, depth + 1);
    }
  };
  walk("/sys/fs/cgroup", 0);
  return found;
}

/** Mount points below the engine's folder, as `POINT TYPE`. */
export function mountsOf(marks: Marks): string[] {
  return read("/proc/self/mountinfo")
    .split("\n")
    .map((line) => line.split(" "))
    .filter((fields) => (fields[4] ?? "").startsWith(`${marks.dir}/`))
    .map((fields) => `${fields[4]} ${fields[fields.indexOf("-") + 1]}`);
}

/** FIFOs of clients for the engine's containers. */
export function fifosOf(marks: Marks): string[] {
  const base = "/run/containerd/fifo";
  const found: string[] = [];
  for (const dir of entries(base))
    for (const name of entries(join(base, dir)))
      if (name.includes(marks.tag)) found.push(join(base, dir, name));
  return found;
}

/** Sockets of shims of these containers (namespace, id): the rule of the name is containerd's. */
export function shimSocketsOf(marks: Marks, ids: Iterable<readonly [string, string]>): string[] {
  const there = new Set([...entries("/run/containerd/s")]);
  const found: string[] = [];
  for (const [namespace, id] of ids) {
    const name = createHash("sha256").update(`${marks.address}/${namespace}/${id}`).digest("hex");
    if (there.has(name)) found.push(`/run/containerd/s/${name} (${namespace}/${id})`);
  }
  return found;
}

/** Open files of the daemon by what they are: a socket is "socket", a file its path. */
export function openFilesOf(pid: number): string[] {
  return entries(`/proc/${pid}/fd`)
    .map((fd) => link(`/proc/${pid}/fd/${fd}`))
    .filter(Boolean)
    .map((target) => target.replace(/:\[\d+\]$/, "").replace(/ \(deleted\)$/, ""))
    .sort();
}

/** Files below a folder to a depth, relative. */
export function tree(dir: string, depth: number, prefix = ""): string[] {
  const found: string[] = [];
  for (const name of entries(join(dir, prefix))) {
    const path = prefix === "" ? name : `${prefix}/${name}`;
    if (depth === 1) found.push(path);
    else found.push(...tree(dir, depth - 1, path));
  }
  return found;
}
