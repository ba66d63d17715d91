import { readdirSync, readFileSync } from "node:fs";
import { isErrno } from "../syscalls/errors.ts";

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot (field 22 of /proc/PID/stat). */
  readonly startTime: bigint;
}

/** The parts of /proc/PID/stat in use. */
export interface ProcStat extends ProcessIdentity {
  readonly command: string;
  /** One letter: R, S, D, Z (zombie), T, X, ... */
  readonly state: string;
  readonly parent: number;
  readonly processGroup: number;
  readonly session: number;
  /**
   * It has begun to end and runs no more of its program. It may stay so: the first process of a pid namespace waits until all
   * others in there were reaped, which is up to their parents outside.
   */
  readonly exiting: boolean;
}

/** PF_EXITING of the kernel's task flags. */
const EXITING = 4;

/** Reads /proc/PID/stat; undefined when there is no such process. */
export function readProcStat(pid: number | "self"): ProcStat | undefined {
  const text = readProcFile(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name may hold spaces and parentheses: the last ")" ends it.
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const fields = text.slice(close + 2).split(" ");
  return {
    pid: Number(text.slice(0, open - 1)),
    command: text.slice(open + 1, close),
    state: fields[0] ?? "?",
    parent: Number(fields[1]),
    processGroup: Number(fields[2]),
    session: Number(fields[3]),
    exiting: (Number(fields[6]) & EXITING) !== 0,
    startTime: BigInt(fields[19] ?? "0"),
  };
}

/** Identity of a running process; undefined when there is none. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readProcStat(pid);
  return stat === undefined ? undefined : { pid: stat.pid, startTime: stat.startTime };
}

/** True while that very process runs; a zombie counts as gone. */
export function isAlive(identity: ProcessIdentity): boolean {
  const stat = readProcStat(identity.pid);
  return (
    stat !== undefined && stat.startTime === identity.startTime && stat.state !== "Z" && stat.state !== "X"
  );
}

/** True while a process with that number runs its program: not for one that ends, a zombie, or none. */
export function runsProgram(pid: number): boolean {
  const stat = pid > 0 ? readProcStat(pid) : undefined;
  return stat !== undefined && !stat.exiting && stat.state !== "Z" && stat.state !== "X";
}

/** Words of the command line; empty for kernel threads and zombies, undefined when there is no such process. */
export function commandLineOf(pid: number): string[] | undefined {
  const text = readProcFile(`/proc/${pid}/cmdline`);
  return text?.split("\0").slice(0, -1);
}

/** Pids of the children of every thread of `pid`. */
export function childrenOf(pid: number): number[] {
  const children: number[] = [];
  for (const task of listNumbers(`/proc/${pid}/task`)) {
    const text = readProcFile(`/proc/${pid}/task/${task}/children`) ?? "";
    for (const word of text.split(" ")) if (word.trim() !== "") children.push(Number(word));
  }
  return children;
}

/** Every pid of this pid namespace. */
export function allPids(): number[] {
  return listNumbers("/proc");
}

/** cgroup path of each hierarchy, from /proc/PID/cgroup: key "cpu", "memory", "name=systemd", and "" for v2. */
export function cgroupPaths(pid: number | "self"): Map<string, string> | undefined {
  const text = readProcFile(`/proc/${pid}/cgroup`);
  if (text === undefined) return undefined;
  const paths = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (match === null) continue;
    for (const controller of (match[1] ?? "").split(",")) paths.set(controller, match[2] ?? "/");
  }
  return paths;
}

/** Text of a file below /proc; undefined when the process is gone. */
export function readProcFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return undefined;
    throw error;
  }
}

function listNumbers(path: string): number[] {
  try {
    return readdirSync(path)
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return [];
    throw error;
  }
}
