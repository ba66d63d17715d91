/** Moving this process into a cgroup. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CgroupLayout, detectCgroups, placeOf } from "./cgroups.ts";
import { readText } from "./read.ts";

/**
 * Moves this process, with all its threads, into the cgroup of a path, made where it is missing: in every controller of
 * version 1 (a hierarchy without one, such as systemd's own, is left alone), or in the one tree of version 2. Children that
 * are started later are born there.
 * @param path absolute, without `..`
 * @returns the folders joined
 * @throws SystemError when a folder cannot be made or joined; what was joined before stays so
 */
export function joinCgroup(path: string, layout: CgroupLayout = detectCgroups()): string[] {
  const mounts =
    layout.mode === "v2"
      ? layout.v2 === undefined
        ? []
        : [layout.v2]
      : [...layout.v1].filter(([name]) => !name.startsWith("name=")).map(([, mount]) => mount);
  const joined = new Set<string>();
  for (const mount of mounts) {
    const dir = placeOf(mount, path);
    if (joined.has(dir)) continue;
    make(mount.target, dir);
    // 0 is the writer, in whatever pid namespace it is
    writeFileSync(join(dir, "cgroup.procs"), "0");
    joined.add(dir);
  }
  return [...joined];
}

/** Makes a folder level by level: a new one of the cpuset controller has neither processors nor memory, and nobody can join it. */
function make(top: string, dir: string): void {
  let parent = top;
  for (const part of dir.slice(top.length).split("/").filter(Boolean)) {
    const here = join(parent, part);
    mkdirSync(here, { recursive: true });
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      const [own, above] = [readText(here, file)?.trim(), readText(parent, file)?.trim()];
      // version 2 inherits by itself: there an empty file says so
      if (
        own === "" &&
        above !== undefined &&
        above !== "" &&
        readText(here, "cgroup.controllers") === undefined
      )
        writeFileSync(join(here, file), above);
    }
    parent = here;
  }
}
