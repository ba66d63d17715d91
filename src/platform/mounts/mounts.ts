import { mkdir, mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "../../lib/retry.ts";
import { resolveInRoot } from "../fs/safe-path.ts";
import * as c from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { type Kernel, kernel as realKernel } from "../syscalls/kernel.ts";
import { isIdMapped, mountIdMapped } from "./id-mapped.ts";
import { attachLoop } from "./loop.ts";
import { type Mount, parseOptions } from "./options.ts";
import { MAX_DATA, mountChecked, mountLongOverlay } from "./overlay.ts";

/** Flags that a bind mount takes only by a second, remounting call. */
const BIND_REMOUNT = c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC | c.MS_NOATIME | c.MS_NOSYMFOLLOW;

/**
 * Mounts one after the other onto `target` (each at its own `target` below, resolved inside). When one fails, those before it
 * are taken down again.
 * @throws SyscallError, UnsupportedMountError
 */
export function mountAll(mounts: readonly Mount[], target: string, kernel: Kernel = realKernel): void {
  const done: string[] = [];
  try {
    for (const mount of mounts) {
      const place =
        mount.target === undefined || mount.target === "" ? target : resolveInRoot(target, mount.target);
      mountOne(mount, place, kernel);
      done.push(place);
    }
  } catch (error) {
    for (const place of done.reverse()) {
      try {
        kernel.umount2(place, c.MNT_DETACH | c.UMOUNT_NOFOLLOW);
      } catch {
        // The mount's own failure is the one to report.
      }
    }
    throw error;
  }
}

/** Carries out one mount at exactly `target`. Blocks while the kernel does. */
export function mountOne(mount: Mount, target: string, kernel: Kernel = realKernel): void {
  if (mount.options.includes("loop")) {
    using device = attachLoop(mount.source, { readonly: mount.options.includes("ro") });
    const options = mount.options.filter((option) => option !== "loop");
    mountOne({ ...mount, source: device.path, options }, target, kernel);
    return;
  }
  if (isIdMapped(mount)) {
    mountIdMapped(mount, target, kernel, (plain, place) => mountOne(plain, place, kernel));
    return;
  }
  const parsed = parseOptions(mount.options);
  const bindType = mount.type === "bind" || mount.type === "rbind";
  const flags =
    parsed.flags |
    (bindType && (parsed.flags & c.MS_REMOUNT) === 0 ? c.MS_BIND : 0) |
    (mount.type === "rbind" ? c.MS_REC : 0);
  const data = parsed.data.join(",");
  if ((flags & c.MS_REMOUNT) === 0 || parsed.data.length > 0 || parsed.propagation === 0) {
    if (Buffer.byteLength(data) > MAX_DATA && mount.type === "overlay") {
      mountLongOverlay(kernel, mount.source, target, flags, parsed.data);
    } else {
      mountChecked(kernel, mount.source, target, mount.type, flags, data);
    }
  }
  try {
    if ((flags & c.MS_BIND) !== 0 && (flags & c.MS_REMOUNT) === 0 && (flags & BIND_REMOUNT) !== 0) {
      kernel.mount(null, target, null, (flags & ~c.MS_REC) | c.MS_REMOUNT);
    }
    if (parsed.propagation !== 0) kernel.mount(null, target, null, parsed.propagation);
  } catch (error) {
    if ((flags & c.MS_REMOUNT) === 0) kernel.umount2(target, c.MNT_DETACH | c.UMOUNT_NOFOLLOW);
    throw error;
  }
}

/**
 * Takes down every mount stacked at `target`; none is fine, and so is a missing target. Without MNT_DETACH a busy one is
 * tried again for about two seconds.
 * @throws SyscallError EBUSY
 */
export async function unmountAll(target: string, flags = 0, kernel: Kernel = realKernel): Promise<void> {
  let busy = 0;
  for (;;) {
    try {
      kernel.umount2(target, flags | c.UMOUNT_NOFOLLOW);
    } catch (error) {
      // EINVAL: nothing (more) is mounted there.
      if (isErrno(error, "EINVAL", "ENOENT", "ENOTDIR")) return;
      if (!isErrno(error, "EBUSY") || ++busy > 40) throw error;
      await sleep(50);
    }
  }
}

/** Unmounts everything at and below `prefix`, deepest first. */
export async function unmountTree(
  prefix: string,
  flags = c.MNT_DETACH,
  kernel: Kernel = realKernel,
): Promise<void> {
  const { mountsBelow } = await import("./mountinfo.ts");
  for (const target of mountsBelow(prefix)) {
    try {
      kernel.umount2(target, flags | c.UMOUNT_NOFOLLOW);
    } catch (error) {
      if (!isErrno(error, "EINVAL", "ENOENT")) throw error;
    }
  }
}

/**
 * Takes what is mounted at and below `prefix` out of sight at once. Taking down the last mount of an overlay makes the
 * kernel flush its upper layer, which may take long on a busy disk; that happens when the returned function is called, or
 * when this process ends.
 */
export async function detachTree(prefix: string, kernel: Kernel = realKernel): Promise<() => void> {
  let held: number | undefined;
  try {
    held = kernel.open(prefix, c.O_PATH | c.O_DIRECTORY);
  } catch {
    // gone: nothing is mounted there
  }
  const release = (): void => {
    if (held !== undefined) kernel.close(held);
    held = undefined;
  };
  try {
    await unmountTree(prefix, c.MNT_DETACH, kernel);
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

/** A mounted temporary place; disposing unmounts and removes it. */
export interface TempMount extends AsyncDisposable {
  readonly path: string;
}

/** Mounts at a fresh private directory below `parent`: `await using root = await tempMount(mounts)`. */
export async function tempMount(
  mounts: readonly Mount[],
  parent: string = tmpdir(),
  kernel: Kernel = realKernel,
): Promise<TempMount> {
  await mkdir(parent, { recursive: true });
  const path = await mkdtemp(join(parent, "gantry-mount-"));
  try {
    mountAll(mounts, path, kernel);
  } catch (error) {
    await rmdir(path);
    throw error;
  }
  return {
    path,
    async [Symbol.asyncDispose]() {
      await unmountTree(path, c.MNT_DETACH, kernel);
      await unmountAll(path, c.MNT_DETACH, kernel);
      // rmdir, never a recursive remove: what is still mounted must not be emptied.
      await rmdir(path);
    },
  };
}

/** Runs `body` with `mounts` mounted at a temporary place. */
export async function withTempMount<T>(
  mounts: readonly Mount[],
  body: (path: string) => Promise<T> | T,
  parent?: string,
): Promise<T> {
  await using mounted = await tempMount(mounts, parent);
  return await body(mounted.path);
}
