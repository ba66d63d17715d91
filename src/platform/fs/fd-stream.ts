import { ffi } from "../ffi/libc.ts";
import { alloc } from "../ffi/memory.ts";
import { isBun } from "../runtime.ts";
import * as c from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, dup, getFlags, open, setNonblocking, tryRead, writeAll } from "../syscalls/files.ts";
import { fstat } from "../syscalls/stat.ts";
import { isatty } from "../syscalls/tty.ts";

/**
 * Kernel fds as streams, on both runtimes (stack.md 1 and 2). Bun: Bun.file() on a non-blocking fd is driven by epoll. Deno:
 * net.Socket for pipes and FIFOs, a blocking call on another thread for terminals. Every stream works on its own duplicate
 * and closes only that, so the caller may close its fd at any time without another file's number being hit.
 */
type Kind = "pipe" | "tty" | "plain";

const CHUNK = 65_536;

/** Somewhere to write: `write` resolves when there is room for more. */
export interface FdSink {
  /** @throws when the reader is gone (EPIPE) */
  write(chunk: Uint8Array): Promise<void>;
  /** Waits until all is out, and closes our duplicate. With `abandon`, what is not out yet is dropped. */
  close(abandon?: boolean): Promise<void>;
}

/**
 * Chunks of `fd` to its end. A terminal whose other side closed (EIO) ends like a file. Does not close `fd`.
 * @param signal ends the stream early, without an error
 */
export async function* readFd(fd: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  if (signal?.aborted) return;
  const own = duplicate(fd, c.O_RDONLY);
  const kind = kindOf(own);
  if (kind === "plain") yield* readPlain(own, signal);
  else if (isBun) yield* readBun(own, signal);
  else if (kind === "pipe") yield* readSocket(own, signal);
  else yield* readThread(own, signal);
}

/** Makes a sink that writes to `fd`. Does not close `fd`. */
export function createFdSink(fd: number): FdSink {
  const own = duplicate(fd, c.O_WRONLY);
  const kind = kindOf(own);
  if (kind === "plain") return plainSink(own);
  if (isBun) return bunSink(own);
  return kind === "pipe" ? socketSink(own) : threadSink(own);
}

function kindOf(fd: number): Kind {
  const { type } = fstat(fd);
  if (type === c.S_IFIFO || type === c.S_IFSOCK) return "pipe";
  // No type at all: an eventfd and its like, read as a terminal is.
  return type === 0 || (type === c.S_IFCHR && isatty(fd)) ? "tty" : "plain";
}

/**
 * 0, 1 and 2 share their open file with other programs, which must not find it non-blocking: open it anew. (A socket cannot
 * be; it is shared then.)
 */
function duplicate(fd: number, access: number): number {
  if (fd > 2 || kindOf(fd) === "plain") return dup(fd);
  try {
    return open(`/proc/self/fd/${fd}`, access | c.O_NONBLOCK | c.O_NOCTTY);
  } catch (error) {
    if (isErrno(error, "ENXIO", "EACCES", "ENOENT", "EPERM")) return dup(fd);
    throw error;
  }
}

async function* readPlain(fd: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    while (signal?.aborted !== true) {
      const buffer = alloc(CHUNK);
      const length = tryRead(fd, buffer);
      if (length < 0) throw new SyscallError("read", -length);
      if (length === 0) return;
      yield buffer.subarray(0, length);
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    close(fd);
  }
}

async function* readBun(fd: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  setNonblocking(fd, true);
  const reader = Bun.file(fd).stream().getReader();
  // A generator stuck in read() cannot be returned from outside; cancel makes that read end.
  const onAbort = (): void => void reader.cancel().catch(() => {});
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal?.aborted === true) return;
      yield value;
    }
  } catch (error) {
    if (!isErrno(error, "EIO") && signal?.aborted !== true) throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await reader.cancel().catch(() => {});
    close(fd);
  }
}

async function* readSocket(fd: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const socket = new (process.getBuiltinModule("node:net").Socket)({ fd, readable: true, writable: false });
  const onAbort = (): void => void socket.destroy();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for await (const chunk of socket) yield chunk as Uint8Array;
  } catch (error) {
    if (signal?.aborted !== true && !isErrno(error, "ERR_STREAM_PREMATURE_CLOSE")) throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
    socket.destroy();
  }
}

async function* readThread(fd: number, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const read = ffi().bindAsync?.("read", ["i32", "buf", "i64"], "i64");
  if (read === undefined) throw new Error("read terminal: this runtime has no asynchronous calls");
  setNonblocking(fd, false);
  // a promise of its own for each read: a race with one that lives long keeps something of every read
  let wake = (): void => {};
  const onAbort = (): void => wake();
  signal?.addEventListener("abort", onAbort, { once: true });
  let pending: Promise<number> | undefined;
  try {
    for (;;) {
      const buffer = alloc(CHUNK);
      const reading = read(fd, buffer, CHUNK);
      pending = reading;
      const length = await new Promise<number>((resolve, reject) => {
        wake = () => resolve(0);
        if (signal?.aborted === true) wake();
        reading.then(resolve, reject);
      });
      if (signal?.aborted === true) return;
      pending = undefined;
      // errno of the other thread is lost; for a terminal it is EIO, the end.
      if (length <= 0) return;
      yield buffer.subarray(0, length);
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    // The thread may still sit in read(): closing under it could hand it another file.
    if (pending === undefined) close(fd);
    else void pending.finally(() => close(fd));
  }
}

function plainSink(fd: number): FdSink {
  return {
    async write(chunk) {
      writeAll(fd, chunk);
    },
    async close() {
      close(fd);
    },
  };
}

function bunSink(fd: number): FdSink {
  setNonblocking(fd, true);
  const writer = Bun.file(fd).writer({ highWaterMark: CHUNK });
  let pending: Promise<unknown> | undefined;
  const settle = async (result: number | Promise<number>): Promise<void> => {
    if (typeof result === "number") return;
    pending = result;
    try {
      await result;
    } finally {
      pending = undefined;
    }
  };
  return {
    async write(chunk) {
      // Both must be awaited, or everything piles up in memory and the tail is lost at close.
      await settle(writer.write(chunk as Uint8Array<ArrayBuffer>));
      await settle(writer.flush());
    },
    async close(abandon = false) {
      if (abandon && pending !== undefined && !(await unblock(fd, pending))) {
        // Nobody reads and nothing can be drained: the duplicate must stay until the write ends.
        void pending.catch(() => {}).then(() => close(fd));
        return;
      }
      try {
        await writer.end();
      } finally {
        close(fd);
      }
    },
  };
}

/** Lets a stuck write to a FIFO that we opened for both directions end, by reading it away ourselves. */
async function unblock(fd: number, pending: Promise<unknown>): Promise<boolean> {
  if ((getFlags(fd) & 3) !== c.O_RDWR || fstat(fd).type !== c.S_IFIFO) return false;
  let ended = false;
  void pending
    .catch(() => {})
    .then(() => {
      ended = true;
    });
  const buffer = alloc(CHUNK);
  for (let turn = 0; turn < 1000 && !ended; turn++) {
    tryRead(fd, buffer);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return ended;
}

function socketSink(fd: number): FdSink {
  const socket = new (process.getBuiltinModule("node:net").Socket)({ fd, readable: false, writable: true });
  socket.on("error", () => {});
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => {
        socket.write(chunk, (error) => (error ? reject(error) : resolve()));
      }),
    close: (abandon = false) =>
      new Promise((resolve) => {
        socket.once("close", () => resolve());
        if (socket.closed) resolve();
        if (abandon) socket.destroy();
        else socket.end(() => socket.destroy());
      }),
  };
}

function threadSink(fd: number): FdSink {
  const write = ffi().bindAsync?.("write", ["i32", "buf", "i64"], "i64");
  if (write === undefined) throw new Error("write terminal: this runtime has no asynchronous calls");
  setNonblocking(fd, false);
  let pending: Promise<number> | undefined;
  return {
    async write(chunk) {
      for (let at = 0; at < chunk.length; ) {
        const part = alloc(chunk.length - at);
        part.set(chunk.subarray(at));
        pending = write(fd, part, chunk.length - at);
        const length = await pending;
        pending = undefined;
        if (length < 0) throw SyscallError.of("write", "EIO");
        at += length;
      }
    },
    async close() {
      if (pending === undefined) close(fd);
      else void pending.finally(() => close(fd));
    },
  };
}
