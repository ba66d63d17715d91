import * as c from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, open, pollFd, setNonblocking, unreadBytes } from "../syscalls/files.ts";
import { fstat } from "../syscalls/stat.ts";
import { mkfifo } from "../syscalls/tree.ts";
import { createFdSink, type FdSink, readFd } from "./fd-stream.ts";

/** Makes a FIFO; one that is there already is kept. */
export function createFifo(path: string, mode = 0o600): void {
  try {
    mkfifo(path, mode);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

/**
 * Opens a FIFO for WRITING: in both directions, so that it never blocks, never fails for want of a reader, and survives a
 * client that goes away and comes back. Close it so that the reader sees the end.
 * @throws SyscallError EINVAL when the path is no FIFO
 */
export function openFifo(path: string): number {
  return mustBeFifo(open(path, c.O_RDWR | c.O_NONBLOCK), path);
}

/**
 * Opens a FIFO for writing that somebody has open for reading. The fd blocks.
 * @returns undefined while nobody has
 * @throws SyscallError EINVAL when the path is no FIFO
 */
export function openReadFifo(path: string): number | undefined {
  let fd: number;
  try {
    fd = open(path, c.O_WRONLY | c.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENXIO")) return undefined;
    throw error;
  }
  setNonblocking(mustBeFifo(fd, path), false);
  return fd;
}

/** A FIFO opened for reading. */
export interface FifoReader {
  /** Non-blocking, ours to close. */
  readonly fd: number;
  /**
   * Gives up the writer that we hold ourselves. Until then there is no end of file, so that a reader that is earlier than the
   * first writer does not take that for the end. Call at the first data, or when told that input is over (CloseIO).
   */
  release(): void;
  /** That writer; undefined when it was given up. */
  readonly keeper: number | undefined;
}

/** Opens a FIFO for READING, waiting for nobody. */
export function openFifoReader(path: string): FifoReader {
  const fd = mustBeFifo(open(path, c.O_RDONLY | c.O_NONBLOCK), path);
  let keeper: number | undefined;
  try {
    keeper = open(path, c.O_WRONLY | c.O_NONBLOCK);
  } catch (error) {
    close(fd);
    throw error;
  }
  return adoptFifoReader(fd, keeper);
}

/** The same over fds that are open. */
export function adoptFifoReader(fd: number, writer: number | undefined): FifoReader {
  let keeper = writer;
  return {
    fd,
    get keeper() {
      return keeper;
    },
    release() {
      if (keeper !== undefined) close(keeper);
      keeper = undefined;
    },
  };
}

/**
 * Whether somebody has a FIFO open for reading and has not read all of it yet. Ask when no reader is our own. Never throws: of what
 * cannot be looked at nobody reads anything.
 */
export function isBeingRead(path: string): boolean {
  let fd: number;
  try {
    // fails when there is no reader (ENXIO)
    fd = open(path, c.O_WRONLY | c.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    return fstat(fd).type === c.S_IFIFO && unreadBytes(fd) > 0;
  } finally {
    close(fd);
  }
}

/** Whether reading gives nothing now and ever: a pipe without writers that was read to its end, or /dev/null. */
export function isAtEnd(fd: number): boolean {
  const { type, rdev } = fstat(fd);
  if (type === c.S_IFCHR) return rdev.major === NULL_DEVICE.major && rdev.minor === NULL_DEVICE.minor;
  return type === c.S_IFIFO && (pollFd(fd, POLLIN, 0) & (POLLIN | POLLHUP)) === POLLHUP;
}

/** Linux, Documentation/admin-guide/devices.txt. */
const NULL_DEVICE = { major: 1, minor: 3 };
const POLLIN = 1;
const POLLHUP = 0x10;

function mustBeFifo(fd: number, path: string): number {
  if (fstat(fd).type === c.S_IFIFO) return fd;
  close(fd);
  throw SyscallError.of("open fifo", "EINVAL", path);
}

/** Options of {@link copyFd}. */
export interface CopyOptions {
  /** Ends the copy early, dropping what is in flight; the promise resolves. */
  readonly signal?: AbortSignal;
  /** Called at the first data. */
  readonly onFirst?: () => void;
  /** Called with the error of the last target that could still be written to. */
  readonly onLost?: (err: unknown) => void;
}

/**
 * Copies `from` to its end into all of `to`, at the pace of the slowest. Closes none of the given fds and sinks. A target
 * whose reader is gone (EPIPE) is dropped; with none left, what comes is read and thrown away, so the source never blocks.
 * @returns bytes read
 */
export async function copyFd(
  from: number,
  to: readonly (number | FdSink)[],
  options: CopyOptions = {},
): Promise<bigint> {
  const { signal, onFirst, onLost } = options;
  const made: FdSink[] = [];
  let bytes = 0n;
  try {
    const live = new Set<FdSink>();
    for (const target of to) {
      const sink = typeof target === "number" ? createFdSink(target) : target;
      if (typeof target === "number") made.push(sink);
      live.add(sink);
    }
    // a promise of its own for each write: a race with one that lives long keeps something of every write
    let wake = (): void => {};
    const onAbort = (): void => wake();
    const untilAborted = (work: Promise<unknown> | undefined): Promise<void> =>
      new Promise((resolve, reject) => {
        wake = resolve;
        if (signal?.aborted === true) resolve();
        else Promise.resolve(work).then(() => resolve(), reject);
      });
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for await (const chunk of readFd(from, signal)) {
        if (bytes === 0n) onFirst?.();
        bytes += BigInt(chunk.length);
        const writes = [...live].map((sink) =>
          sink.write(chunk).catch((err: unknown) => {
            if (live.delete(sink) && live.size === 0) onLost?.(err);
          }),
        );
        if (writes.length === 0) continue;
        const all = writes.length === 1 ? writes[0] : Promise.all(writes);
        await (signal === undefined ? all : untilAborted(all));
        if (signal?.aborted === true) break;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
    return bytes;
  } finally {
    await Promise.all(made.map((sink) => sink.close(signal?.aborted === true).catch(() => {})));
  }
}
