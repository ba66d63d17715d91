/**
 * How the manager carries out one mount and takes it down. All of it in helper processes: an image of any origin, or a disk
 * that does not answer, holds up that helper alone.
 */
import { lstat, mkdir, readlink, rmdir, unlink } from "node:fs/promises";
import { abortError, type Call } from "../../core/call.ts";
import { internal } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { attachedLoops, releaseLoop } from "../../platform/mounts/loop.ts";
import { run } from "../../platform/process/spawn.ts";
import { reExec } from "../../platform/runtime.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";

/** Types that the manager carries out itself, also when nothing refers to them. */
export const HANDLED: ReadonlySet<string> = new Set(["loop", "erofs"]);

/** Carries out a mount at `place`: a folder, or for `loop` a symlink to the device. @throws internal, canceled */
export async function mountAt(call: Call, mount: Mount, place: string): Promise<void> {
  if (mount.type === "loop") {
    const options = {
      readonly: mount.options.includes("ro"),
      directIo: mount.options.includes("direct-io"),
    };
    await help(call, ["attach-loop", mount.source, place, JSON.stringify(options)]);
    return;
  }
  await mkdir(place, { recursive: true, mode: 0o700 });
  await help(call, ["mount", JSON.stringify(mount), place]);
}

/** Takes down what {@link mountAt} made of `mount`, or began; nothing there is fine. @throws internal */
export async function takeDownAt(call: Call, mount: Mount, place: string): Promise<void> {
  if (await isLink(place)) {
    const path = await readlink(place);
    // the device may have been detached by others, and be another file's now
    const mine = attachedLoops().find((loop) => loop.path === path);
    if (mine !== undefined && mine.file.replace(/ \(deleted\)$/, "") === mount.source) releaseLoop(path);
    await unlink(place);
    return;
  }
  await help(call, ["unmount", place]);
  // never a recursive remove: what is still mounted must not be emptied
  await rmdir(place).catch(ignoreMissing);
}

async function isLink(place: string): Promise<boolean> {
  try {
    return (await lstat(place)).isSymbolicLink();
  } catch (err) {
    ignoreMissing(err);
    return false;
  }
}

async function help(call: Call, words: readonly string[]): Promise<void> {
  const { command, args, argv0 } = reExec(["helper", ...words], "gantry-mount");
  const done = await run(command, args, {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    signal: call.signal,
    maxOutput: 8192,
    ...(argv0 === undefined ? {} : { argv0 }),
  }).catch((err: unknown) => {
    if (call.signal.aborted) throw abortError(call.signal);
    throw err;
  });
  if (done.code === 0) return;
  throw internal(new TextDecoder().decode(done.stderr).trim() || `mount helper ended with code ${done.code}`);
}

/** For removals: what is gone is fine. */
export function ignoreMissing(err: unknown): void {
  if (!isErrno(err, "ENOENT")) throw err;
}
