/** Mounts as the mount API's clients write them, performed in a helper's own mount namespace. */
import { mkdirSync } from "node:fs";
import { failedPrecondition } from "../../../core/errors.ts";
import type { Mount } from "../../../core/mounts/mount.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import { fromText } from "../tar/byte-string.ts";

/** Options that are flags of mount(2): what they set and clear. */
const FLAGS: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  ro: [1, 0],
  rw: [0, 1],
  nosuid: [2, 0],
  suid: [0, 2],
  nodev: [4, 0],
  dev: [0, 4],
  noexec: [8, 0],
  exec: [0, 8],
  sync: [16, 0],
  async: [0, 16],
  dirsync: [128, 0],
  noatime: [1024, 0],
  nodiratime: [2048, 0],
  relatime: [1 << 21, 0],
  strictatime: [1 << 24, 0],
  bind: [4096, 0],
  rbind: [4096 | 16384, 0],
  defaults: [0, 0],
};

const BIND = 4096;
const REC = 16384;
const REMOUNT = 32;

/** Mounts all of `mounts` onto `target`, in order. `readonly` adds `ro`. @throws failed-precondition */
export function mountAll(mounts: readonly Mount[], target: string, readonly = false): void {
  for (const mount of mounts) {
    const at = mount.target === "" ? target : `${target}/${mount.target}`;
    if (mount.target !== "") mkdirSync(at, { recursive: true });
    mountOne(mount, at, readonly);
  }
}

function mountOne(mount: Mount, target: string, readonly: boolean): void {
  let flags = 0;
  const data: string[] = [];
  for (const option of mount.options) {
    const known = Object.hasOwn(FLAGS, option) ? FLAGS[option] : undefined;
    if (known === undefined) data.push(option);
    else flags = (flags & ~known[1]) | known[0];
  }
  if (readonly) flags |= 1;
  if (mount.type === "bind" && (flags & BIND) === 0) flags |= BIND;
  const type = mount.type === "bind" ? "" : mount.type;
  const isBind = (flags & BIND) !== 0;
  const first = isBind ? flags & (BIND | REC) : flags;
  check(mount, fs.mount(fromText(mount.source), fromText(target), type, first, fromText(data.join(","))));
  // A bind takes its flags only when it is changed afterwards.
  const rest = flags & ~(BIND | REC);
  if (isBind && rest !== 0) check(mount, fs.mount("none", fromText(target), "", rest | BIND | REMOUNT, ""));
}

function check(mount: Mount, n: number): void {
  if (n < 0) throw failedPrecondition(`mount "${mount.source}" (${mount.type}): ${fs.errnoName(n)}`);
}
