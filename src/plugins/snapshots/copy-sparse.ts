/** Copies a file with a file system in it: shared extents where possible, else without its zeros. For a helper process. */
import {
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";

/** Bytes compared with zeros at once: what one write of a file system touches. */
const BLOCK = 64 << 10;

/** Makes `to`, which must not exist, equal to `from`. */
export function copySparse(from: string, to: string): void {
  try {
    copyFileSync(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    return;
  } catch {
    // not that kind of file system
  }
  const source = openSync(from, "r");
  try {
    const target = openSync(to, "w", 0o600);
    try {
      const data = Buffer.alloc(BLOCK);
      const zeros = Buffer.alloc(BLOCK);
      const { size } = fstatSync(source);
      for (let at = 0; at < size; ) {
        const n = readSync(source, data, 0, BLOCK, at);
        if (n === 0) throw new Error(`copy "${from}": it became shorter`);
        if (!data.subarray(0, n).equals(zeros.subarray(0, n))) writeAll(target, data.subarray(0, n), at);
        at += n;
      }
      ftruncateSync(target, size);
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

function writeAll(fd: number, data: Buffer, at: number): void {
  for (let done = 0; done < data.length; ) done += writeSync(fd, data, done, data.length - done, at + done);
}
