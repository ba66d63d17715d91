/**
 * What a helper process does to itself before and after tree work: its root, its mounts, its end. In the manner of
 * raw-fs.ts: results are values or negative errno values, paths are byte strings.
 */
import { Buffer } from "node:buffer";
import { CLONE_NEWNS, MS_PRIVATE, MS_REC } from "./constants.ts";
import { c, pathA, pathB, put, ret } from "./raw-call.ts";

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
/** Bytes a buffer needs to be passed to the kernel. */
const ROOM = 128;

/** Makes `path` the root and the working directory of this process. */
export function chroot(path: string): number {
  const n = ret(c.chroot(put(pathA, path)));
  return n < 0 ? n : ret(c.chdir(put(pathA, "/")));
}
export function fchdir(fd: number): number {
  return ret(c.fchdir(fd));
}
/** Sets the file mode creation mask; returns the old one. */
export function umask(mask: number): number {
  return c.umask(mask);
}
/** This process dies when the thread that started it does. */
export function dieWithParent(): number {
  return ret(c.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
}
/** unshare(CLONE_NEWNS) of the calling thread, with every mount made private. */
export function privateMounts(): number {
  const n = ret(c.unshare(CLONE_NEWNS));
  return n < 0 ? n : mount("none", "/", "", MS_PRIVATE | MS_REC, "");
}
/** mount(2). */
export function mount(source: string, target: string, type: string, flags: number, data: string): number {
  return ret(c.mount(put(pathB, source), put(pathA, target), bytesOf(type), flags, bytesOf(data)));
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text.concat("\0").padEnd(ROOM, "\0"), "latin1");
}
