/** Loop devices that a crash left: files of the engine that no mount and no activation uses. */
import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/errors.ts";
import { attachedLoops, releaseLoop } from "../../platform/mounts/loop.ts";
import { readMountInfo } from "../../platform/mounts/mountinfo.ts";
import { allPids } from "../../platform/process/proc.ts";
import type { DoctorContext, Finding } from "./finding.ts";

/** Where the mount manager keeps a link to each device it holds: `t/KEY/N`. */
const HELD = "io.containerd.mount-manager.v1.bolt/t";

/** Finds them. Only devices of files below the daemon's own folders are looked at. */
export function leftLoops(context: DoctorContext): Finding[] {
  const below = [context.root, context.state].map((folder) => `${folder.replace(/\/+$/, "")}/`);
  try {
    const ours = attachedLoops().filter(({ file }) => below.some((folder) => file.startsWith(folder)));
    if (ours.length === 0) return [];
    const held = heldLoops(join(context.state, HELD));
    const mounted = mountedDevices();
    const left = ours.filter(({ path, device }) => !held.has(path) && !mounted.has(device));
    if (left.length === 0)
      return [{ check: "loop", level: "ok", text: `${ours.length} loop devices, all in use` }];
    return left.map(({ path, file }) => ({
      check: "loop",
      level: "problem",
      text: `loop device ${path} holds "${file}", and nothing uses it`,
      next: `losetup -d ${path}, or --repair`,
      repair: () => releaseLoop(path),
    }));
  } catch (err) {
    return [{ check: "loop", level: "warning", text: `devices cannot be read: ${messageOf(err)}` }];
  }
}

function heldLoops(root: string): Set<string> {
  const out = new Set<string>();
  for (const key of list(root))
    for (const name of list(join(root, key))) {
      try {
        out.add(readlinkSync(join(root, key, name)));
      } catch {
        // a folder with a mount
      }
    }
  return out;
}

/** Numbers of the devices that any process sees mounted: containers have mounts of their own. */
function mountedDevices(): Set<string> {
  const out = new Set<string>();
  const seen = new Set<string>();
  for (const pid of allPids()) {
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`);
      if (seen.has(namespace)) continue;
      for (const { device } of readMountInfo(pid)) out.add(device);
      seen.add(namespace);
    } catch {
      // ended meanwhile
    }
  }
  return out;
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
