import { unlinkSync } from "node:fs";
import { createFdSink, type FdSink, readFd } from "../fs/fd-stream.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, setNonblocking } from "../syscalls/files.ts";
import { accept, bindUnix, listen, receiveWithFds, SOCK_STREAM, unixSocket } from "../syscalls/socket.ts";
import { setWinsize, type Winsize } from "../syscalls/tty.ts";

/**
 * The socket that a runtime's `--console-socket` names. The runtime connects and sends the PTY master before it exits, so
 * after its exit the master is there without waiting (stack.md 1).
 */
export class ConsoleSocket implements Disposable {
  readonly path: string;
  readonly #fd: number;
  #open = true;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /** Listens at `path` (at most 107 bytes, in a private folder: whoever connects hands us a terminal). */
  static listen(path: string): ConsoleSocket {
    const fd = unixSocket(SOCK_STREAM, true);
    try {
      bindUnix(fd, path);
      listen(fd, 1);
    } catch (error) {
      close(fd);
      throw error;
    }
    return new ConsoleSocket(path, fd);
  }

  /**
   * The PTY master, ours to close. Call after the runtime exited with 0.
   * @throws SyscallError EAGAIN when nobody connected, or nothing was sent
   */
  receive(): number {
    const connection = accept(this.#fd, true);
    if (connection === undefined) throw SyscallError.of("receive console", "EAGAIN", this.path);
    try {
      const [master, ...extra] = receiveWithFds(connection)?.fds ?? [];
      for (const fd of extra) close(fd);
      if (master === undefined) throw SyscallError.of("receive console", "EAGAIN", this.path);
      return master;
    } finally {
      close(connection);
    }
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.#fd);
    try {
      unlinkSync(this.path);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
}

/** A PTY master as a stream of bytes each way. */
export class Pty {
  readonly fd: number;
  readonly #stop = new AbortController();
  #sink: FdSink | undefined;
  #open = true;

  /** @param fd the master; owned from here on */
  constructor(fd: number) {
    this.fd = fd;
    setNonblocking(fd, true);
  }

  /** What the terminal prints, until the last process closed its side (EIO) or `close`. Read once. */
  read(): AsyncGenerator<Uint8Array, void, undefined> {
    return readFd(this.fd, this.#stop.signal);
  }

  /** Types `bytes` into the terminal; resolves when there is room for more. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#open) throw SyscallError.of("write", "EIO");
    this.#sink ??= createFdSink(this.fd);
    await this.#sink.write(bytes);
  }

  /** Sets the size; programs inside get SIGWINCH. */
  resize(size: Winsize): void {
    if (this.#open) setWinsize(this.fd, size);
  }

  /** Hangs up: programs inside get SIGHUP. */
  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#stop.abort();
    await this.#sink?.close(true).catch(() => {});
    close(this.fd);
  }
}
