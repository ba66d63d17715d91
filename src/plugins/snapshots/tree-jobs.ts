/** Long work on trees that a helper process does for the snapshotters: `gantry unpack` with one of these jobs. */
import { setPriority } from "node:os";
import { messageOf } from "../../core/errors.ts";
import { removePath } from "../../platform/fs/raw-remove.ts";
import { mountErofs } from "../../platform/mounts/erofs.ts";
import { createSubvolume, destroySubvolume, snapshotSubvolume } from "../../platform/syscalls/btrfs.ts";
import { errnoName } from "../../platform/syscalls/errors.ts";
import * as fs from "../../platform/syscalls/raw-fs.ts";
import { copySparse } from "./copy-sparse.ts";
import { copyTree } from "./copy-tree.ts";

/** A job, as JSON in the helper's first argument. Paths are text. */
export type TreeJob =
  | { readonly mode: "remove"; readonly parent: number; readonly paths: readonly string[] }
  | { readonly mode: "copy"; readonly parent: number; readonly from: string; readonly to: string }
  | { readonly mode: "copy-file"; readonly parent: number; readonly from: string; readonly to: string }
  | { readonly mode: "sync"; readonly parent: number; readonly path: string }
  | { readonly mode: "subvolume"; readonly parent: number; readonly path: string; readonly from?: string }
  | {
      readonly mode: "mount-erofs";
      readonly parent: number;
      readonly images: readonly { readonly image: string; readonly target: string }[];
    }
  | { readonly mode: "drop-subvolume"; readonly parent: number; readonly path: string };

/** Does a job. @throws Error saying what failed */
export function runTreeJob(job: TreeJob): void {
  switch (job.mode) {
    case "remove": {
      // nobody waits for it: what clients do comes first
      setPriority(10);
      const failures: string[] = [];
      for (const path of job.paths) {
        try {
          removePath(path);
        } catch (err) {
          failures.push(messageOf(err));
        }
      }
      if (failures.length > 0) throw new Error(failures.join("; "));
      return;
    }
    case "copy":
      copyTree(job.from, job.to);
      return;
    case "copy-file":
      copySparse(job.from, job.to);
      return;
    case "subvolume":
      if (job.from === undefined) createSubvolume(job.path);
      else snapshotSubvolume(job.from, job.path);
      return;
    case "drop-subvolume":
      destroySubvolume(job.path);
      return;
    case "mount-erofs":
      for (const { image, target } of job.images)
        mountErofs({ type: "erofs", source: image, options: ["ro"] }, target);
      return;
    case "sync": {
      const fd = fs.open(fs.textPath(job.path), fs.O.RDONLY | fs.O.DIRECTORY | fs.O.CLOEXEC);
      const n = fd < 0 ? fd : fs.syncfs(fd);
      if (n < 0) throw new Error(`flush "${job.path}": ${errnoName(n)}`);
      return;
    }
  }
}
