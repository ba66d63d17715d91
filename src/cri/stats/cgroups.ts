import { dirname } from "node:path";
import { lazy } from "../../lib/lazy.ts";
import {
  type Cgroup,
  type CgroupLayout,
  cgroupAt,
  cgroupOf,
  detectCgroups,
} from "../../platform/cgroups/cgroups.ts";

/** Cgroups of running containers and pods, found once for each process. */
export class KnownCgroups {
  readonly #layout: () => CgroupLayout = lazy(() => detectCgroups());
  readonly #known = new Map<string, { readonly pid: number; readonly cgroup: Cgroup | undefined }>();

  /** Cgroup that process `pid` of the container (or pod) `id` is in; undefined when it is gone. */
  of(id: string, pid: number): Cgroup | undefined {
    if (pid <= 0) return undefined;
    const known = this.#known.get(id);
    if (known?.pid === pid && known.cgroup !== undefined) return known.cgroup;
    const cgroup = cgroupOf(pid, this.#layout());
    // not the host's own: the process is on its way into its cgroup, or has none
    const found = cgroup?.path === "/" ? undefined : cgroup;
    this.#known.set(id, { pid, cgroup: found });
    return found;
  }

  /** The cgroup above that of process `pid`: the pod's, when the kubelet made one. */
  above(id: string, pid: number): Cgroup | undefined {
    const inner = this.of(id, pid);
    if (inner === undefined) return undefined;
    const parent = dirname(inner.path);
    if (parent === "/" || parent === ".") return undefined;
    const key = `${id}/..`;
    const known = this.#known.get(key);
    if (known?.pid === pid && known.cgroup !== undefined) return known.cgroup;
    const cgroup = cgroupAt(parent, this.#layout());
    this.#known.set(key, { pid, cgroup });
    return cgroup;
  }

  /** Forgets everything that is not in `ids`. */
  keep(ids: ReadonlySet<string>): void {
    for (const key of this.#known.keys()) if (!ids.has(key.replace(/\/\.\.$/, ""))) this.#known.delete(key);
  }
}
