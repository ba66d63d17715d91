import type { RawTimes } from "../../../platform/syscalls/raw-fs.ts";
import type { TarEntry } from "../tar/reader.ts";

/** Access time is modification time: a layer does not tell it, and a tree must not depend on when it was unpacked. */
export function bothTimes(sec: number, nsec: number): RawTimes {
  return { atimeSec: sec, atimeNsec: nsec, mtimeSec: sec, mtimeNsec: nsec };
}

/** Times of an entry. Before the epoch becomes the epoch, as in containerd. */
export function timesOf({ mtime }: TarEntry): RawTimes {
  return mtime.sec < 0 ? bothTimes(0, 0) : bothTimes(mtime.sec, mtime.nsec);
}
