/**
 * A log file that others rotate. Whatever is written are whole lines, and stays so: a write that the disk cuts short is
 * taken back to the last whole line, and the rest waits for room.
 *
 * Rotation needs no word to us: before every write the path is looked at, and when another file is there, or none, it is
 * opened anew. {@link LogFile.reopen} does it at once. Where nobody rotates, the file does it itself when asked to.
 */

import { existsSync, mkdirSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import { sleep } from "../../src/lib/retry.ts";
import * as c from "../../src/platform/syscalls/constants.ts";
import { SyscallError } from "../../src/platform/syscalls/errors.ts";
import { close, ftruncate, open, tryWrite } from "../../src/platform/syscalls/files.ts";
import { fstat, statxIfExists } from "../../src/platform/syscalls/stat.ts";
import type { Rotation } from "./log-address.ts";

/** While the file cannot be written, whoever writes is held up for at most this time in all. Milliseconds. */
const HOLD_MS = 800;
const RETRY_MS = 20;
/** After that time, lines kept in memory until the file takes them; what comes on top is dropped, whole lines. Bytes. */
const KEEP = 4 << 20;
const NEWLINE = 10;
const EINTR = 4;

/** See the file's comment. */
export class LogFile {
  readonly path: string;
  readonly #log: Logger;
  readonly #rotation: Rotation | undefined;
  /** Bytes in the file; followed only when it rotates by itself. */
  #size = 0;
  #fd: number;
  #id = "";
  /** Lines the file did not take. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #lost = 0;
  /** When the file failed first, milliseconds of the monotonic clock. */
  #since = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * Opens the file for appending (mode 0640) and makes its folder. @throws SyscallError
   * @param adopted it is open already, under this fd
   */
  constructor(path: string, log: Logger, rotate?: Rotation, adopted?: number) {
    this.path = path;
    this.#log = log;
    this.#rotation = rotate;
    if (adopted === undefined) mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    this.#fd = adopted === undefined ? this.#open() : this.#identify(adopted);
  }

  /** The open file, while all lines are in it; undefined while some wait. */
  get restingFd(): number | undefined {
    return this.#waiting.length > 0 || this.#timer !== undefined || this.#fd < 0 ? undefined : this.#fd;
  }

  #open(): number {
    return this.#identify(
      open(this.path, c.O_WRONLY | c.O_CREAT | c.O_APPEND | c.O_NOCTTY | c.O_NONBLOCK, 0o640),
    );
  }

  #identify(fd: number): number {
    const { dev, ino, size } = fstat(fd);
    this.#size = size;
    this.#id = `${dev} ${ino}`;
    return fd;
  }

  /** Opens the path anew. @throws SyscallError: the old file is kept then */
  reopen(): void {
    const old = this.#fd;
    this.#fd = this.#open();
    close(old);
  }

  /** Writes whole lines. Never blocks and never throws. */
  write(lines: Uint8Array): void {
    const rest = this.#waiting.length > 0 && !this.#retry() ? lines : this.#put(lines);
    if (rest !== undefined) this.#wait(rest);
  }

  /** Resolves when everything is in the file, or the time writers may be held up is over. */
  async ready(): Promise<void> {
    while (this.#waiting.length > 0 && performance.now() - this.#since < HOLD_MS) {
      await sleep(RETRY_MS);
      this.#retry();
    }
  }

  /** Gives what is waiting a last chance of `ms` milliseconds, and closes the file. */
  async close(ms = HOLD_MS): Promise<void> {
    if (this.#fd < 0) return;
    const until = performance.now() + ms;
    while (this.#waiting.length > 0 && !this.#retry() && performance.now() < until) await sleep(RETRY_MS);
    clearInterval(this.#timer);
    for (const lines of this.#waiting) this.#lost += lines.length;
    this.#waiting = [];
    if (this.#lost > 0) this.#log.error("log lines lost", { path: this.path, bytes: this.#lost });
    if (this.#fd >= 0) close(this.#fd);
    this.#fd = -1;
  }

  /** Keeps lines for later. They are copied: the caller's memory is used again. */
  #wait(lines: Uint8Array): void {
    if (this.#waitingBytes + lines.length > KEEP) {
      this.#lost += lines.length;
      return;
    }
    this.#waiting.push(lines.slice());
    this.#waitingBytes += lines.length;
    if (this.#timer !== undefined) return;
    this.#since = performance.now();
    this.#timer = setInterval(() => this.#retry(), RETRY_MS * 5);
  }

  /** @returns true when nothing is waiting any more */
  #retry(): boolean {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const rest = this.#put(first);
      this.#waitingBytes -= first.length - (rest?.length ?? 0);
      if (rest !== undefined) {
        this.#waiting[0] = rest;
        return false;
      }
      this.#waiting.shift();
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#lost > 0) this.#log.error("log lines lost", { path: this.path, bytes: this.#lost });
    this.#lost = 0;
    return true;
  }

  /** @returns the lines that did not get in */
  #put(lines: Uint8Array): Uint8Array | undefined {
    this.#follow();
    if (this.#rotation !== undefined && this.#size > 0 && this.#size + lines.length > this.#rotation.size)
      this.#rotate(this.#rotation.files);
    let at = 0;
    while (at < lines.length) {
      const length = tryWrite(this.#fd, lines.subarray(at));
      if (length === -EINTR) continue;
      if (length < 0) {
        if (this.#timer === undefined)
          this.#log.warn("write log", { path: this.path, err: new SyscallError("write", -length) });
        return lines.subarray(this.#wholeLines(lines, at));
      }
      at += length;
      this.#size += length;
    }
    return undefined;
  }

  /** PATH becomes PATH.1, and so on; the oldest goes. What fails is told, and the file just grows. */
  #rotate(files: number): void {
    try {
      if (files === 1) ftruncate(this.#fd, 0);
      else {
        for (let n = files - 1; n > 0; n--) {
          const from = n === 1 ? this.path : `${this.path}.${n - 1}`;
          if (existsSync(from)) renameSync(from, `${this.path}.${n}`);
        }
      }
      this.reopen();
    } catch (error) {
      this.#size = 0; // not tried again with every line
      this.#log.warn("rotate log", { path: this.path, reason: messageOf(error) });
    }
  }

  /** Takes the torn line at the end of the file back. @returns how much of `lines` is in the file then */
  #wholeLines(lines: Uint8Array, written: number): number {
    if (written === 0) return 0;
    const whole = lines.lastIndexOf(NEWLINE, written - 1) + 1;
    if (whole === written) return whole;
    try {
      ftruncate(this.#fd, fstat(this.#fd).size - (written - whole));
      return whole;
    } catch {
      return written; // the rest of the line comes later
    }
  }

  /** Somebody moved the file away: follow the path. */
  #follow(): void {
    try {
      const there = statxIfExists(c.AT_FDCWD, this.path, 0);
      if (there !== undefined && `${there.dev} ${there.ino}` === this.#id) return;
      this.reopen();
    } catch (error) {
      // The folder is gone too: the old file is the only place left.
      this.#log.debug("reopen log", { path: this.path, reason: messageOf(error) });
    }
  }
}
