import * as c from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import type { Kernel } from "../syscalls/kernel.ts";
import { splitLayers } from "./options.ts";

type OverlayKernel = Pick<
  Kernel,
  | "close"
  | "fsconfigCreate"
  | "fsconfigSet"
  | "fsMessages"
  | "fsmount"
  | "fsopen"
  | "mount"
  | "moveMount"
  | "open"
>;

/** mount(2) takes at most one page of options, the terminating zero included. */
export const MAX_DATA = 4095;
/** fsconfig(2) takes at most 255 bytes per string. */
const MAX_CONFIG = 255;

/**
 * Mounts an overlay whose options are longer than a page (many layers). Two ways:
 * 1. the mount API by fds with one "lowerdir+" per layer (kernel 6.8), which keeps the real paths visible in mountinfo;
 * 2. mount(2) with short names for the layers: /proc/self/fd/N of held directories.
 * @throws SyscallError; E2BIG when the layers do not fit even so
 */
export function mountLongOverlay(
  kernel: OverlayKernel,
  source: string,
  target: string,
  flags: number,
  data: readonly string[],
): void {
  const held: number[] = [];
  const short = (path: string): string => {
    const fd = kernel.open(path, c.O_PATH | c.O_DIRECTORY);
    held.push(fd);
    return `/proc/self/fd/${fd}`;
  };
  try {
    if (mountByFds(kernel, source, target, flags, data, short)) return;
    const compact = data.map((option) => {
      const [key, value] = splitOption(option);
      if (value === undefined || !/^(?:lowerdir|upperdir|workdir)$/.test(key)) return option;
      const paths = key === "lowerdir" ? splitLayers(value) : [value];
      return `${key}=${paths.map(short).join(":")}`;
    });
    mountChecked(kernel, source, target, "overlay", flags, compact.join(","));
  } finally {
    for (const fd of held) kernel.close(fd);
  }
}

/**
 * mount(2), which would silently cut longer options.
 * @throws SyscallError E2BIG
 */
export function mountChecked(
  kernel: Pick<Kernel, "mount">,
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): void {
  if (Buffer.byteLength(data) > MAX_DATA) throw SyscallError.of("mount", "E2BIG", target);
  kernel.mount(source, target, type, flags, data);
}

/** Way 1; false when this kernel cannot. */
function mountByFds(
  kernel: OverlayKernel,
  source: string,
  target: string,
  flags: number,
  data: readonly string[],
  short: (path: string) => string,
): boolean {
  let context: number;
  try {
    context = kernel.fsopen("overlay");
  } catch (error) {
    if (isErrno(error, "ENOSYS", "EPERM", "ENODEV")) return false;
    throw error;
  }
  try {
    const fit = (path: string): string => (Buffer.byteLength(path) > MAX_CONFIG ? short(path) : path);
    kernel.fsconfigSet(context, "source", source === "" ? "overlay" : source);
    for (const option of data) {
      const [key, value] = splitOption(option);
      if (key === "lowerdir" && value !== undefined) {
        for (const layer of splitLayers(value)) kernel.fsconfigSet(context, "lowerdir+", fit(layer));
      } else if (value !== undefined && /^(?:upperdir|workdir)$/.test(key)) {
        kernel.fsconfigSet(context, key, fit(value));
      } else kernel.fsconfigSet(context, key, value);
    }
    if ((flags & c.MS_RDONLY) !== 0) kernel.fsconfigSet(context, "ro");
    kernel.fsconfigCreate(context);
    const mountFd = kernel.fsmount(context, mountAttributes(flags));
    try {
      kernel.moveMount(mountFd, target);
    } finally {
      kernel.close(mountFd);
    }
    return true;
  } catch (error) {
    // "lowerdir+" is unknown before 6.8; let mount(2) say what is really wrong, if anything.
    if (isErrno(error, "EINVAL", "ENOSYS", "ENOTSUP")) return false;
    throw error;
  } finally {
    kernel.close(context);
  }
}

function mountAttributes(flags: number): number {
  let attributes = 0;
  if ((flags & c.MS_RDONLY) !== 0) attributes |= 0x1;
  if ((flags & c.MS_NOSUID) !== 0) attributes |= 0x2;
  if ((flags & c.MS_NODEV) !== 0) attributes |= 0x4;
  if ((flags & c.MS_NOEXEC) !== 0) attributes |= 0x8;
  if ((flags & c.MS_NOATIME) !== 0) attributes |= 0x10;
  if ((flags & c.MS_STRICTATIME) !== 0) attributes |= 0x20;
  if ((flags & c.MS_NODIRATIME) !== 0) attributes |= 0x80;
  return attributes;
}

function splitOption(option: string): [key: string, value: string | undefined] {
  const at = option.indexOf("=");
  return at < 0 ? [option, undefined] : [option.slice(0, at), option.slice(at + 1)];
}
