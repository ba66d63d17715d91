/** The FIFOs of a task that nobody can remove through its shim any more. */
import { lstat, rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Stdio } from "../../core/tasks/tasks.ts";

/** Removes them, and their folder when it is empty then. Whoever holds them open reads on to the end. */
export async function removeFifos(stdio: Stdio): Promise<void> {
  const folders = new Set<string>();
  for (const address of [stdio.stdin, stdio.stdout, stdio.stderr]) {
    const path = address.replace(/^fifo:\/\//, "");
    const found = path.startsWith("/") ? await lstat(path).catch(() => undefined) : undefined;
    if (found?.isFIFO() !== true) continue;
    await rm(path, { force: true });
    folders.add(dirname(path));
  }
  for (const folder of folders) await rmdir(folder).catch(() => {});
}
