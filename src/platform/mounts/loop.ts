/** Loop devices: a file as a block device, for mounts with the option `loop`. The device goes with its last mount. */
import { closeSync, constants, openSync } from "node:fs";
import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check, isErrno } from "../syscalls/errors.ts";

const cIoctl = libc("ioctl", ["i32", "i64", "i64"]);
const cIoctlBuf = libc("ioctl", ["i32", "i64", "buf"]);

/** linux/loop.h */
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
/** struct loop_config, and where its fd and flags are. */
const CONFIG_SIZE = 304;
const FLAGS = 60;
const READ_ONLY = 1;
const AUTOCLEAR = 4;
/** Other processes take devices, too. */
const TRIES = 50;

/** A device that stays while this is open or it is mounted. */
export interface LoopDevice extends Disposable {
  readonly path: string;
}

/** Attaches `file` to a free loop device. @throws SyscallError */
export function attachLoop(file: string, readonly: boolean): LoopDevice {
  const mode = readonly ? constants.O_RDONLY : constants.O_RDWR;
  const backing = openSync(file, mode);
  try {
    for (let tries = 1; ; tries++) {
      const path = `/dev/loop${freeDevice()}`;
      const device = openSync(path, mode);
      const config = alloc(CONFIG_SIZE);
      view(config).setUint32(0, backing, true);
      view(config).setUint32(FLAGS, AUTOCLEAR | (readonly ? READ_ONLY : 0), true);
      try {
        check("ioctl LOOP_CONFIGURE", cIoctlBuf(device, LOOP_CONFIGURE, config), path);
        return { path, [Symbol.dispose]: () => closeSync(device) };
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
