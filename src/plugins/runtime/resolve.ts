/** From a runtime name to the executable of its shim (runtime v2 naming). */
import { dirname, isAbsolute } from "node:path";
import { invalidArgument, notFound } from "../../core/errors.ts";
import { findProgram, isExecutable } from "../../platform/process/find-program.ts";
import { execPath, isCompiled, reExec } from "../../platform/runtime.ts";

/** How to start a shim. */
export interface ShimCommand {
  readonly command: string;
  /** Arguments before the protocol's own. */
  readonly prefix: readonly string[];
  readonly argv0?: string | undefined;
  /** It is this executable. */
  readonly own: boolean;
  /** Shown in logs and kept in the bundle. */
  readonly path: string;
}

/** Name this executable is called by as a shim. */
const SHIM_NAME = "containerd-shim-runc-v2";
/** Runtime this executable is the shim of. */
export const OWN_RUNTIME = "io.containerd.runc.v2";

/**
 * Resolves a runtime. `path` (absolute) wins over the name. Otherwise `io.containerd.NAME.VERSION` is the program
 * `containerd-shim-NAME-VERSION`, looked for in PATH and beside the daemon; the runc shim is this executable.
 * @throws invalid-argument, not-found naming what was looked for
 */
export function resolveShim(name: string, path: string | undefined): ShimCommand {
  const wanted = path !== undefined && path !== "" ? path : name;
  if (isAbsolute(wanted)) {
    if (!isExecutable(wanted)) throw notFound(`runtime "${wanted}": no such executable`);
    return { command: wanted, prefix: [], own: false, path: wanted };
  }
  if (wanted.includes("/")) throw invalidArgument(`runtime "${wanted}": a path must be absolute`);
  if (wanted === OWN_RUNTIME) {
    // compiled, the name alone picks the mode; run from source, the mode is an argument
    const self = isCompiled() ? reExec([], SHIM_NAME) : reExec(["shim"]);
    return { command: self.command, prefix: self.args, argv0: self.argv0, own: true, path: execPath() };
  }
  const parts = wanted.split(".");
  const [version, kind] = [parts.at(-1), parts.at(-2)];
  if (parts.length < 2 || kind === undefined || version === undefined || kind === "" || version === "") {
    throw invalidArgument(`runtime "${wanted}": invalid runtime name`, {
      hint: "use a name such as io.containerd.runc.v2, or the absolute path of a shim",
    });
  }
  const program = `containerd-shim-${kind}-${version}`;
  const found = findProgram(program, [dirname(execPath())]);
  if (found !== undefined) return { command: found, prefix: [], own: false, path: found };
  throw notFound(`failed to resolve runtime path: runtime "${wanted}" binary not installed "${program}"`, {
    hint: `install ${program}, or use the runtime ${OWN_RUNTIME}`,
  });
}
