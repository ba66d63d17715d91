/** The differs that the diff service asks, in the order of its list: containerd's `io.containerd.service.v1.diff-service`. */
import type { Applier, Comparer } from "../../core/diff/diff.ts";
import { invalidArgument, isNotImplemented, notImplemented } from "../../core/errors.ts";
import { DIFFER } from "../../core/plugin/kinds.ts";
import { all, defineKind, definePlugin } from "../../core/plugin/plugin.ts";

/** What the service serves. */
export const DIFF_SERVICE = defineKind<Applier & Comparer>("io.containerd.service.v1");

/** Asks each differ until one can do it. */
function chainDiffers(differs: readonly (Applier & Comparer)[], syncFs = false): Applier & Comparer {
  const first = async <T>(ask: (differ: Applier & Comparer) => Promise<T>): Promise<T> => {
    let refused: unknown = notImplemented("no differ is configured");
    for (const differ of differs) {
      try {
        return await ask(differ);
      } catch (err) {
        if (!isNotImplemented(err)) throw err;
        refused = err;
      }
    }
    throw refused;
  };
  return {
    apply: (call, desc, mounts, options) =>
      first((d) => d.apply(call, desc, mounts, syncFs ? { ...options, syncFs: true } : options)),
    compare: (call, lower, upper, options) => first((d) => d.compare(call, lower, upper, options)),
  };
}

export default definePlugin({
  kind: DIFF_SERVICE,
  id: "diff-service",
  requires: { differs: all(DIFFER) },
  config: {
    defaults: { default: ["walking"], sync_fs: false },
    parse({ default: names, sync_fs: syncFs }) {
      if (!Array.isArray(names) || !names.every((name) => typeof name === "string"))
        throw invalidArgument('config key "default": must be a list of differs');
      if (typeof syncFs !== "boolean") throw invalidArgument('config key "sync_fs": must be true or false');
      return { names: names as string[], syncFs };
    },
  },
  onFailure: "optional",
  init(_host, { differs }, { names, syncFs }) {
    const chosen = names.map((name) => {
      const differ = differs.get(name);
      if (differ === undefined) throw invalidArgument(`needed differ not loaded: ${name}`);
      return differ;
    });
    return chainDiffers(chosen, syncFs);
  },
});
