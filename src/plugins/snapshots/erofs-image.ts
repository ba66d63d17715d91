/** Makes the read-only image of a layer with `mkfs.erofs` (erofs-utils). */
import { open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { abortError, type Call } from "../../core/call.ts";
import { diskFull, failedPrecondition, internal } from "../../core/errors.ts";
import { SkipPlugin } from "../../core/plugin/plugin.ts";
import { findProgram } from "../../platform/process/find-program.ts";
import { run } from "../../platform/process/spawn.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { enableVerity, hasVerity, setImmutable } from "../../platform/syscalls/file-flags.ts";

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

/** How the files of images are kept from change. */
export interface ImageGuards {
  /** The kernel checks every byte of an image against hashes made at its commit. */
  readonly verity: boolean;
  /** Nobody can write or remove an image by accident. */
  readonly immutable: boolean;
}

/** Puts the guards on a finished image. What is on already is fine. @throws SyscallError */
export function guardImage(folder: string, guards: ImageGuards): void {
  const image = join(folder, IMAGE);
  if (guards.verity && !hasVerity(image)) enableVerity(image);
  if (guards.immutable) setImmutable(image, true);
}

/** Lets an image be removed. Without flags, or without an image, there is nothing to do. */
export function releaseImage(folder: string): void {
  try {
    setImmutable(join(folder, IMAGE), false);
  } catch (err) {
    if (isErrno(err, "ENOENT", "ENOTTY", "EOPNOTSUPP", "ENOTSUP")) return;
    if (err instanceof Error && "code" in err && err.code === "ENOENT") return;
    throw err;
  }
}

/** @throws failed-precondition for an image without fs-verity: nothing tells whether its bytes are those of the layer */
export function requireVerity(image: string): void {
  if (hasVerity(image)) return;
  throw failedPrecondition(`layer image "${image}": fs-verity is not enabled on it`, {
    hint: "it was made before enable_fsverity: remove the image that uses it and pull it again",
  });
}

/** Tries fs-verity on a file of its own. @throws failed-precondition where kernel or file system have none */
export async function requireVerityIn(root: string): Promise<void> {
  const probe = join(root, `verity-${process.pid}`);
  await writeFile(probe, "probe");
  try {
    enableVerity(probe);
  } catch (err) {
    if (!isErrno(err, "EOPNOTSUPP", "ENOTSUP", "ENOTTY", "EINVAL")) throw err;
    throw failedPrecondition(`fsverity is not supported on the filesystem of "${root}"`, {
      cause: err,
      hint: "it needs a kernel with CONFIG_FS_VERITY, and on ext4 the feature: tune2fs -O verity DEVICE",
    });
  } finally {
    await rm(probe, { force: true });
  }
}

/** @throws SkipPlugin saying what is missing on this machine */
export async function requireErofs(): Promise<void> {
  if (!/\terofs$/m.test(await readFile("/proc/filesystems", "utf8")))
    throw new SkipPlugin("EROFS unsupported, please `modprobe erofs`");
  if (findProgram("mkfs.erofs") === undefined)
    throw new SkipPlugin("mkfs.erofs was not found: install erofs-utils");
}
