/** Mounts of EROFS images: as plain files where the kernel can (6.12), else by loop devices. */
import { isErrno } from "../syscalls/errors.ts";
import { attachLoop, type LoopDevice } from "./loop.ts";
import { mountOne } from "./mounts.ts";
import type { Mount } from "./options.ts";

const DEVICE = "device=";

/** Mounts an image and the further ones its `device=` options name. @throws SyscallError */
export function mountErofs(mount: Mount, target: string): void {
  try {
    mountOne(mount, target);
    return;
  } catch (err) {
    if (!isErrno(err, "ENOTBLK") || mount.options.includes("loop")) throw err;
  }
  const devices: LoopDevice[] = [];
  const asDevice = (file: string): string => {
    const device = attachLoop(file, { readonly: true });
    devices.push(device);
    return device.path;
  };
  try {
    const options = mount.options.map((option) =>
      option.startsWith(DEVICE) ? DEVICE + asDevice(option.slice(DEVICE.length)) : option,
    );
    mountOne({ ...mount, source: asDevice(mount.source), options }, target);
  } finally {
    for (const device of devices) device[Symbol.dispose]();
  }
}
