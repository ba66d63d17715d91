/** Makes the read-only image of a layer with `mkfs.erofs` (erofs-utils). */
import { existsSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { abortError, type Call } from "../../core/call.ts";
import { diskFull, internal } from "../../core/errors.ts";
import { SkipPlugin } from "../../core/plugin/plugin.ts";
import { run } from "../../platform/process/spawn.ts";

/** Name of a layer's image in its snapshot's folder. */
export const IMAGE = "layer.erofs";
/** Marks the folders of this snapshotter: the differ takes no others. containerd's name. */
export const MARKER = ".erofslayer";
/**
 * Writes the image of the tree `from` to `folder`, whole or not at all.
 * @throws internal with what mkfs.erofs said, resource-exhausted (disk full), canceled
 */
export async function buildImage(
  call: Call,
  from: string,
  folder: string,
  options: readonly string[],
): Promise<void> {
  call.check();
  const temporary = join(folder, `${IMAGE}.new`);
  await rm(temporary, { force: true });
  try {
    const args = ["--quiet", "-Enoinline_data", ...options, temporary, from];
    const made = await run("mkfs.erofs", args, {
      signal: call.signal,
      maxOutput: 8192,
      killGroup: true,
    }).catch((err: unknown) => {
      if (call.signal.aborted) throw abortError(call.signal);
      throw internal("run mkfs.erofs: is erofs-utils installed?", { cause: err });
    });
    if (made.code !== 0) {
      const said = new TextDecoder().decode(made.stderr).trim().slice(-500);
      const message = `mkfs.erofs ended with code ${made.code}: ${said}`;
      throw /No space left/i.test(said) ? diskFull(message, "ENOSPC") : internal(message);
    }
    await rename(temporary, join(folder, IMAGE));
  } catch (err) {
    await rm(temporary, { force: true });
    throw err;
  }
}

/** Makes the image durable. */
export async function syncImage(folder: string): Promise<void> {
  const file = await open(join(folder, IMAGE), "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** @throws SkipPlugin saying what is missing on this machine */
export async function requireErofs(): Promise<void> {
  if (!/\terofs$/m.test(await readFile("/proc/filesystems", "utf8")))
    throw new SkipPlugin("EROFS unsupported, please `modprobe erofs`");
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  if (!folders.some((folder) => existsSync(join(folder, "mkfs.erofs"))))
    throw new SkipPlugin("mkfs.erofs was not found: install erofs-utils");
}
