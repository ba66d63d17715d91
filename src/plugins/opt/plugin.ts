/**
 * `io.containerd.internal.v1.opt`: the folder of `ctr install`. Its `bin` goes before PATH, so that shims and runtimes from
 * images are found, and its `lib` into LD_LIBRARY_PATH.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../core/errors.ts";
import { defineKind, definePlugin } from "../../core/plugin/plugin.ts";

/** Internal parts of containerd that clients know by their exports. */
export const INTERNAL = defineKind<{ readonly path: string }>("io.containerd.internal.v1");

export default definePlugin({
  kind: INTERNAL,
  id: "opt",
  requires: {},
  config: {
    defaults: { path: "/opt/containerd" },
    parse(table) {
      const path = table["path"];
      if (typeof path !== "string" || !path.startsWith("/"))
        throw invalidArgument(`path "${String(path)}": must be an absolute path`);
      return { path };
    },
  },
  onFailure: "optional",
  init(host, _deps, { path }) {
    const [bin, lib] = [join(path, "bin"), join(path, "lib")];
    for (const dir of [bin, lib]) mkdirSync(dir, { recursive: true, mode: 0o711 });
    process.env["PATH"] = [bin, process.env["PATH"]].filter(Boolean).join(":");
    process.env["LD_LIBRARY_PATH"] = [lib, process.env["LD_LIBRARY_PATH"]].filter(Boolean).join(":");
    host.describe({ exports: { path } });
    return { path };
  },
});
