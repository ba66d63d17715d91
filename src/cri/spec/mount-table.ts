/** Questions to the table of mounts. */
import type { MountInfo } from "../../platform/mounts/mountinfo.ts";

/** The mount that a path without links is on: of the ones above it the deepest, of those the latest. */
export function mountOf(path: string, mounts: readonly MountInfo[]): MountInfo | undefined {
  let best: MountInfo | undefined;
  for (const mount of mounts) {
    const { target } = mount;
    const above = target === "/" || path === target || path.startsWith(`${target}/`);
    if (above && target.length >= (best?.target.length ?? 0)) best = mount;
  }
  return best;
}
