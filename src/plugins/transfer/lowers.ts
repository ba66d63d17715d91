import type { NamespacedCall } from "../../core/call.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { LayerJob, UnpackRun } from "./layer-job.ts";

/** Directory of a committed layer, when known. */
export type Below = { readonly dir: string | undefined };

/** Where the files of the layers below are: what hard links and implied directories refer to. */
export class Lowers {
  readonly #run: UnpackRun;
  readonly #dirs = new Map<string, string | undefined>();

  constructor(run: UnpackRun) {
    this.#run = run;
  }

  set(job: LayerJob, below: Below): void {
    this.#dirs.set(job.chainId, below.dir);
  }

  /** Mounts for the end of a layer: its own directory over everything below. */
  async mounts(call: NamespacedCall, job: LayerJob, own: readonly Mount[]): Promise<readonly Mount[]> {
    const upper = bindSource(own);
    if (job.parent === "" || upper === undefined) return own;
    const dirs: string[] = [];
    let at: string = job.parent;
    for (;;) {
      const dir = this.#dirs.get(at);
      if (dir === undefined) {
        if (at !== "") dirs.push(...(await this.#view(call, at)));
        break;
      }
      dirs.push(escapeLower(dir));
      const chainId = at;
      at = this.#run.jobs.find((j) => j.chainId === chainId)?.parent ?? "";
    }
    const options = [`lowerdir=${dirs.join(":")}`, `upperdir=${upper}`];
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  /** Directories of a committed chain, nearest first, from the mounts of a short-lived view. */
  async #view(call: NamespacedCall, name: string): Promise<string[]> {
    const key = `view-${crypto.randomUUID()} ${name}`;
    const mounts = await this.#run.sn.view(call, key, name, new Map());
    try {
      const bind = bindSource(mounts);
      if (bind !== undefined) return [escapeLower(bind)];
      // Escaped already: passed on as it stands.
      const options = mounts[0]?.options ?? [];
      return options.flatMap((o) => (o.startsWith("lowerdir=") ? [o.slice("lowerdir=".length)] : []));
    } finally {
      await this.#run.sn
        .remove(call.detached(30_000), key)
        .catch((err: unknown) => call.log.warn("view of the layers below was not removed", { key, err }));
    }
  }
}

/** A path in a lowerdir list: the kernel takes ":" as the separator. */
function escapeLower(path: string): string {
  return path.replace(/[\\:]/g, "\\$&");
}

/** The directory that a single bind mount shows. */
export function bindSource(mounts: readonly Mount[]): string | undefined {
  const only = mounts[0];
  return mounts.length === 1 && only?.type === "bind" ? only.source : undefined;
}
