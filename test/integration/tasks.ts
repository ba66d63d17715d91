/** What the kernel says about the processes behind tasks. */
import { readFileSync } from "node:fs";
import type { Client } from "./client.ts";

/** A row of `tasks ls`. */
export interface TaskRow {
  readonly id: string;
  readonly pid: number;
  readonly status: string;
}

/** Rows of `tasks ls`. */
export async function taskRows(ctr: Client): Promise<TaskRow[]> {
  const lines = (await ctr.ok("tasks", "ls")).split("\n").slice(1).filter(Boolean);
  return lines.map((line) => {
    const [id = "", pid = "0", status = ""] = line.trim().split(/\s+/);
    return { id, pid: Number(pid), status };
  });
}

/** One row. @throws Error when there is none */
export async function taskRow(ctr: Client, id: string): Promise<TaskRow> {
  const row = (await taskRows(ctr)).find((found) => found.id === id);
  if (row === undefined) throw new Error(`task ${id}: not in tasks ls`);
  return row;
}

/** Parent of a process: the shim of a container's first process. 0 when it is gone. */
export function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return 0;
  }
}

/** PF_EXITING of the kernel's task flags. */
const EXITING = 4;

/**
 * Whether a process runs: not a zombie, and not one that ends, which the first process of a container does until all others in
 * there were reaped.
 */
export function alive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state = "", ...rest] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return !/^[ZX]/.test(state) && (Number(rest[5]) & EXITING) === 0;
  } catch {
    return false;
  }
}
