/** Looks at a root file system right before the OCI runtime gets it. */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../src/core/errors.ts";

/**
 * Places that the runtime mounts on must not be links: old runtimes follow them and make files on the host (S49, S51, S52).
 * @throws invalid-argument naming the place
 */
export function checkRootfs(root: string): void {
  for (const place of ["proc", "sys", "dev"]) {
    const found = lstatSync(join(root, place), { throwIfNoEntry: false });
    if (found === undefined || found.isDirectory()) continue;
    const what = found.isSymbolicLink() ? "a symbolic link" : "not a directory";
    throw invalidArgument(`root file system: /${place} is ${what}`);
  }
}
