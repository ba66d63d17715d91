/** What the words before a mount's type ask for: `format`, `mkdir`, `mkfs`, in their order. */
import { chown, mkdir, realpath } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { Call } from "../../core/call.ts";
import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import { type ActiveMount, formatMount, type ParsedMount } from "../../core/mounts/activation.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { mkdirAllInRoot } from "../../platform/fs/safe-path.ts";
import { AT_EMPTY_PATH, O_DIRECTORY, O_PATH } from "../../platform/syscalls/constants.ts";
import { close, open } from "../../platform/syscalls/files.ts";
import { fchownat } from "../../platform/syscalls/tree.ts";
import { makeFileSystem, parseMkfs } from "./mkfs.ts";

/** Applies a mount's transformers. @returns what to mount @throws invalid-argument, failed-precondition, ... */
export async function transform(
  call: Call,
  item: ParsedMount,
  active: readonly ActiveMount[],
): Promise<Mount> {
  let { mount } = item;
  for (const name of item.transformers) {
    if (name === "format") mount = formatMount(mount, active);
    if (name === "mkfs") await makeFileSystem(call, parseMkfs(mount.source, item.own));
    if (name === "mkdir")
      for (const [key, value] of item.own) if (key === "mkdir.path") await makeDir(value, active);
  }
  return mount;
}

/** `PATH[:MODE[:UID:GID]]`; the mode is octal. */
async function makeDir(value: string, active: readonly ActiveMount[]): Promise<void> {
  const [raw = "", mode = "700", uid, gid, more] = value.split(":");
  const source = { type: "", source: raw, target: "", options: [] };
  const path = formatMount(source, active).source;
  const ids = uid === undefined ? [] : [uid, gid ?? ""];
  if (
    !isAbsolute(path) ||
    !/^0?[0-7]{1,4}$/.test(mode) ||
    more !== undefined ||
    !ids.every((id) => /^\d{1,10}$/.test(id))
  )
    throw invalidArgument(`mkdir "${value}": use PATH:MODE:UID:GID`);
  const [owner, group] = ids.map(Number);
  const bits = Number.parseInt(mode, 8);
  const inside = active.find(({ mountPoint }) => path.startsWith(`${mountPoint}/`));
  if (inside === undefined) {
    await mkdir(path, { recursive: true, mode: bits });
    if (owner !== undefined && group !== undefined) await chown(path, owner, group);
    return;
  }
  // what is mounted there may be an image of any origin: its links must not lead to the host
  makeInside(inside.mountPoint, path.slice(inside.mountPoint.length + 1), bits, owner, group);
  if (!(await realpath(path)).startsWith(`${inside.mountPoint}/`))
    throw failedPrecondition(`mkdir "${path}": a link leads out of its mount`);
}

function makeInside(
  mountPoint: string,
  path: string,
  mode: number,
  owner: number | undefined,
  group: number | undefined,
): void {
  const root = open(mountPoint, O_PATH | O_DIRECTORY);
  try {
    const made = mkdirAllInRoot(root, path, mode);
    try {
      if (owner !== undefined && group !== undefined) fchownat(made, "", owner, group, AT_EMPTY_PATH);
    } finally {
      close(made);
    }
  } finally {
    close(root);
  }
}
