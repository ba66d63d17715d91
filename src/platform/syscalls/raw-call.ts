/**
 * What the raw-*.ts files share: the bound functions, the form of their results, and buffers for names. One call runs at a
 * time and none waits, so each buffer is free again when its call returns.
 */
import { Buffer } from "node:buffer";
import { openLibc } from "./raw-libc.ts";

const { calls, errno } = openLibc();

/** The functions of libc. */
export const c = calls;

/** Bytes of a name, with its NUL, that a call takes. */
export const PATH_ROOM = 8192;
/** Scratch for the path of a call. */
export const pathA: Buffer = Buffer.from(new ArrayBuffer(PATH_ROOM));
/** The same for the second path of a call, or for what is no path. */
export const pathB: Buffer = Buffer.from(new ArrayBuffer(PATH_ROOM));

/** True for a name that {@link put} would cut. */
export const tooLong = (text: string): boolean => text.length >= PATH_ROOM;

/** Writes a byte string and a NUL into a scratch buffer. */
export function put(buffer: Buffer, text: string): Buffer {
  const length = Math.min(text.length, PATH_ROOM - 1);
  buffer.write(text, 0, length, "latin1");
  buffer[length] = 0;
  return buffer;
}

/** Result of a call: its value, or the negative errno. */
export function ret(result: number): number {
  return result < 0 ? -(errno[0] ?? 0) : result;
}
