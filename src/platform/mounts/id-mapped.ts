/** Mounts whose owners are shifted, so that a user namespace sees the files of an image as its own. */
import { mkdirSync, mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openUserNamespace, parseIdRanges } from "../process/userns.ts";
import * as c from "../syscalls/constants.ts";
import type { Kernel } from "../syscalls/kernel.ts";
import { MOUNT_ATTR_IDMAP, OPEN_TREE_CLONE } from "../syscalls/new-mount.ts";
import { type Mount, splitLayers, UnsupportedMountError } from "./options.ts";

const OPTION = /^(uidmap|gidmap)=(.*)$/;

/** Does a mount ask for shifted owners (containerd's options `uidmap=` and `gidmap=`)? */
export function isIdMapped(mount: Mount): boolean {
  return mount.options.some((option) => OPTION.test(option));
}

/** Carries out a mount without the options of mappings. */
export type PlainMount = (mount: Mount, target: string) => void;

/**
 * Mounts with shifted owners: of an overlay every lower layer (what is written goes to the upper one with the owners it has
 * outside), of a bind mount the source.
 * @throws UnsupportedMountError for other types and malformed mappings, SyscallError EINVAL where the file system cannot
 */
export function mountIdMapped(mount: Mount, target: string, kernel: Kernel, plain: PlainMount): void {
  const ranges = (key: string): ReturnType<typeof parseIdRanges> => {
    const option = mount.options.findLast((o) => o.startsWith(`${key}=`));
    return option === undefined ? undefined : parseIdRanges(option.slice(key.length + 1));
  };
  const [uids, gids] = [ranges("uidmap"), ranges("gidmap")];
  if (uids === undefined || gids === undefined)
    throw new UnsupportedMountError(`mount "${target}": uidmap and gidmap must be inside:outside:size`);
  const rest = mount.options.filter((option) => !OPTION.test(option));
  const lower = rest.find((option) => option.startsWith("lowerdir="));
  const bind =
    mount.type === "bind" || mount.type === "rbind" || rest.some((o) => o === "bind" || o === "rbind");
  if (!bind && (mount.type !== "overlay" || lower === undefined))
    throw new UnsupportedMountError(`mount type "${mount.type}": owners cannot be shifted`);
  const sources = bind || lower === undefined ? [mount.source] : splitLayers(lower.slice("lowerdir=".length));
  const base = mkdtempSync(join(tmpdir(), "gantry-idmap-"));
  const made: string[] = [];
  const userNsFd = openUserNamespace(uids, gids);
  try {
    for (const [i, source] of sources.entries()) {
      const place = join(base, String(i));
      mkdirSync(place);
      made.push(place);
      attachShifted(kernel, source, place, userNsFd, bind);
    }
    if (bind) plain({ ...mount, type: "bind", source: made[0] ?? "", options: [...rest, "rbind"] }, target);
    else {
      const others = rest.filter((option) => option !== lower);
      plain({ ...mount, options: [...others, `lowerdir=${made.join(":")}`] }, target);
    }
  } finally {
    kernel.close(userNsFd);
    // the mount at `target` keeps its own copies
    for (const place of made) {
      try {
        kernel.umount2(place, c.MNT_DETACH | c.UMOUNT_NOFOLLOW);
      } catch {
        // never mounted: the failure before this is the one to report
      }
      rmdirSync(place);
    }
    rmdirSync(base);
  }
}

function attachShifted(
  kernel: Kernel,
  source: string,
  place: string,
  userNsFd: number,
  recursive: boolean,
): void {
  const flags = OPEN_TREE_CLONE | (recursive ? c.AT_RECURSIVE : 0);
  const tree = kernel.openTree(c.AT_FDCWD, source, flags);
  try {
    const depth = c.AT_EMPTY_PATH | (recursive ? c.AT_RECURSIVE : 0);
    kernel.mountSetattr(tree, "", depth, { set: MOUNT_ATTR_IDMAP, userNsFd });
    kernel.moveMount(tree, place);
  } finally {
    kernel.close(tree);
  }
}
