import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "./errors.ts";

const cIoctl = libc("ioctl", ["i32", "i64", "buf"]);
const cTcgetattr = libc("tcgetattr", ["i32", "buf"]);
const cTcsetattr = libc("tcsetattr", ["i32", "i32", "buf"]);
const cCfmakeraw = libc("cfmakeraw", ["buf"]);
const cIsatty = libc("isatty", ["i32"]);

const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;

/** Size of a terminal in characters. */
export interface Winsize {
  readonly rows: number;
  readonly columns: number;
}

/** ioctl(TIOCGWINSZ). */
export function getWinsize(fd: number): Winsize {
  const buffer = alloc(8);
  check("ioctl TIOCGWINSZ", cIoctl(fd, TIOCGWINSZ, buffer));
  const fields = view(buffer);
  return { rows: fields.getUint16(0, true), columns: fields.getUint16(2, true) };
}

/** ioctl(TIOCSWINSZ): the foreground process group gets SIGWINCH. */
export function setWinsize(fd: number, size: Winsize): void {
  const buffer = alloc(8);
  const fields = view(buffer);
  fields.setUint16(0, size.rows, true);
  fields.setUint16(2, size.columns, true);
  check("ioctl TIOCSWINSZ", cIoctl(fd, TIOCSWINSZ, buffer));
}

/** Settings of a terminal, opaque. */
export function tcgetattr(fd: number): Uint8Array {
  const buffer = alloc(128);
  check("tcgetattr", cTcgetattr(fd, buffer));
  return buffer;
}

/** Gives a terminal back the settings of {@link tcgetattr}, after what was written is out (TCSADRAIN). */
export function tcsetattr(fd: number, settings: Uint8Array): void {
  check("tcsetattr", cTcsetattr(fd, 1, settings));
}

/** `settings` changed to raw mode (cfmakeraw), as a copy. */
export function rawSettings(settings: Uint8Array): Uint8Array {
  const copy = alloc(128);
  copy.set(settings);
  cCfmakeraw(copy);
  return copy;
}

/** True for a terminal. */
export function isatty(fd: number): boolean {
  return cIsatty(fd) === 1;
}
