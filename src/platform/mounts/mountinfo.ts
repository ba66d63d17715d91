import { readFileSync } from "node:fs";

/** One line of /proc/PID/mountinfo. */
export interface MountInfo {
  readonly id: number;
  readonly parent: number;
  /** "major:minor" of the file system. */
  readonly device: string;
  /** Folder of the file system that is mounted. */
  readonly root: string;
  readonly target: string;
  readonly options: readonly string[];
  /** "shared:1", "master:2", ... */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** Every mount that a process sees, in the kernel's order: later ones cover earlier ones at the same target. */
export function readMountInfo(pid: number | "self" = "self"): MountInfo[] {
  return parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, "utf8"));
}

/** Parses the text of a mountinfo file; lines it does not understand are left out. */
export function parseMountInfo(text: string): MountInfo[] {
  const mounts: MountInfo[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(" ");
    const dash = fields.indexOf("-", 6);
    if (dash < 0) continue;
    const [id, parent, device, root, target, options] = fields;
    mounts.push({
      id: Number(id),
      parent: Number(parent),
      device: device ?? "",
      root: unescapeOctal(root ?? ""),
      target: unescapeOctal(target ?? ""),
      options: (options ?? "").split(","),
      propagation: fields.slice(6, dash),
      type: fields[dash + 1] ?? "",
      source: unescapeOctal(fields[dash + 2] ?? ""),
      superOptions: (fields[dash + 3] ?? "").split(","),
    });
  }
  return mounts;
}

/** The mount that covers `target` exactly, if any. */
export function findMount(
  target: string,
  mounts: readonly MountInfo[] = readMountInfo(),
): MountInfo | undefined {
  return mounts.findLast((mount) => mount.target === target);
}

/** Targets at or below `prefix`, deepest (latest) first: the order to unmount in. */
export function mountsBelow(prefix: string, mounts: readonly MountInfo[] = readMountInfo()): string[] {
  const root = prefix.replace(/\/+$/, "");
  return mounts
    .filter((mount) => mount.target === root || mount.target.startsWith(`${root}/`))
    .map((mount) => mount.target)
    .reverse();
}

function unescapeOctal(text: string): string {
  // The kernel writes space, tab, newline and backslash as three octal digits.
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
