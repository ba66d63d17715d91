/** Where the shim itself runs: its score for the kernel's choice of whom to kill, and its cgroup. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { detectCgroups } from "../../src/platform/cgroups/cgroups.ts";

/** One above the daemon's own, so that the kernel kills the shim before the daemon and long after containers. */
export function raiseOomScore(): void {
  const path = "/proc/self/oom_score_adj";
  try {
    const score = Number.parseInt(readFileSync(path, "utf8"), 10);
    writeFileSync(path, String(Math.min(score + 1, 1000)));
  } catch {
    // A shim with the daemon's score still works.
  }
}

/** Moves this process into a cgroup of its own, made when missing. */
export function enterCgroup(path: string): void {
  if (path === "") return;
  const layout = detectCgroups();
  const mounts = layout.mode === "v2" ? [layout.v2] : [...new Set(layout.v1.values())];
  for (const mount of mounts) {
    if (mount === undefined) continue;
    let folder = mount.target;
    for (const name of join("/", path).split("/").filter(Boolean)) {
      const parent = folder;
      folder = join(parent, name);
      mkdirSync(folder, { recursive: true });
      // a cpuset that was just made has no processor: nothing can enter it
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        const own = join(folder, file);
        if (layout.mode !== "v2" && existsSync(own) && readFileSync(own, "utf8").trim() === "")
          writeFileSync(own, readFileSync(join(parent, file)));
      }
    }
    writeFileSync(join(folder, "cgroup.procs"), String(process.pid));
  }
}
