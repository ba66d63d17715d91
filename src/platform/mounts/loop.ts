/** Loop devices: a file as a block device, for mounts with the option `loop` and for others to use by its path. */
import { closeSync, constants, openSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check, isErrno } from "../syscalls/errors.ts";

const cIoctl = libc("ioctl", ["i32", "i64", "i64"]);
const cIoctlBuf = libc("ioctl", ["i32", "i64", "buf"]);

/** linux/loop.h */
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CLR_FD = 0x4c01;
const LOOP_SET_STATUS64 = 0x4c04;
const LOOP_GET_STATUS64 = 0x4c05;
/** struct loop_config, and where its fd and flags are. */
const CONFIG_SIZE = 304;
const FLAGS = 60;
/** struct loop_info64, and where its flags are. */
const INFO_SIZE = 232;
const INFO_FLAGS = 52;
const READ_ONLY = 1;
const AUTOCLEAR = 4;
const DIRECT_IO = 16;
/** Other processes take devices, too. */
const TRIES = 50;

/** A device that stays while this is open or it is mounted. */
export interface LoopDevice extends Disposable {
  readonly path: string;
}

/** How a file is attached. */
export interface LoopOptions {
  readonly readonly: boolean;
  /** Around the page cache of the file's own file system, where that can. */
  readonly directIo?: boolean;
}

/** Attaches `file` to a free loop device. @throws SyscallError */
export function attachLoop(file: string, options: LoopOptions): LoopDevice {
  const { path, device } = attach(file, options);
  return { path, [Symbol.dispose]: () => closeSync(device) };
}

/**
 * Attaches `file` to a free loop device that stays until {@link releaseLoop}, and makes `link` a symlink to it. A crash in
 * between leaves at most the link: the device keeps itself only after that.
 * @returns the device
 * @throws SyscallError
 */
export function attachLoopAt(file: string, link: string, options: LoopOptions): string {
  const { path, device } = attach(file, options);
  try {
    symlinkSync(path, link);
    const info = alloc(INFO_SIZE);
    check("ioctl LOOP_GET_STATUS64", cIoctlBuf(device, LOOP_GET_STATUS64, info), path);
    const flags = view(info).getUint32(INFO_FLAGS, true);
    view(info).setUint32(INFO_FLAGS, flags & ~AUTOCLEAR, true);
    check("ioctl LOOP_SET_STATUS64", cIoctlBuf(device, LOOP_SET_STATUS64, info), path);
    return path;
  } finally {
    closeSync(device);
  }
}

/** Detaches a device from its file, at once or when its last mount goes. One that is free is fine. @throws SyscallError */
export function releaseLoop(path: string): void {
  const device = openSync(path, constants.O_RDONLY);
  try {
    check("ioctl LOOP_CLR_FD", cIoctl(device, LOOP_CLR_FD, 0), path);
  } catch (err) {
    if (!isErrno(err, "ENXIO")) throw err;
  } finally {
    closeSync(device);
  }
}

/** A device in use. */
export interface AttachedLoop {
  /** "/dev/loop3" */
  readonly path: string;
  /** "7:3" */
  readonly device: string;
  /** The file as the kernel tells it; " (deleted)" behind one that is gone. */
  readonly file: string;
}

/** Every loop device that has a file. */
export function attachedLoops(): AttachedLoop[] {
  const out: AttachedLoop[] = [];
  for (const name of readdirSync("/sys/block")) {
    if (!/^loop\d+$/.test(name)) continue;
    try {
      const read = (file: string): string =>
        readFileSync(`/sys/block/${name}/${file}`, "utf8").replace(/\n$/, "");
      out.push({ path: `/dev/${name}`, device: read("dev"), file: read("loop/backing_file") });
    } catch {
      // free, or was let go meanwhile
    }
  }
  return out;
}

function attach(file: string, options: LoopOptions): { path: string; device: number } {
  const mode = options.readonly ? constants.O_RDONLY : constants.O_RDWR;
  const flags = AUTOCLEAR | (options.readonly ? READ_ONLY : 0) | (options.directIo === true ? DIRECT_IO : 0);
  const backing = openSync(file, mode);
  try {
    for (let tries = 1; ; tries++) {
      const path = `/dev/loop${freeDevice()}`;
      const device = openSync(path, mode);
      const config = alloc(CONFIG_SIZE);
      view(config).setUint32(0, backing, true);
      view(config).setUint32(FLAGS, flags, true);
      try {
        check("ioctl LOOP_CONFIGURE", cIoctlBuf(device, LOOP_CONFIGURE, config), path);
        return { path, device };
      } catch (err) {
        closeSync(device);
        if (!isErrno(err, "EBUSY") || tries >= TRIES) throw err;
      }
    }
  } finally {
    closeSync(backing);
  }
}

function freeDevice(): number {
  const control = openSync("/dev/loop-control", constants.O_RDWR);
  try {
    return check("ioctl LOOP_CTL_GET_FREE", cIoctl(control, LOOP_CTL_GET_FREE, 0));
  } finally {
    closeSync(control);
  }
}
