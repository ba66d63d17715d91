/**
 * Stdio between this client and a shim: FIFOs the shim opens by name. The client makes them, holds a dummy writer on the
 * output ones until the shim has opened its end (else the first read would be an end of file), and copies.
 */

import { lstatSync, mkdirSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Stdio } from "../../core/tasks/tasks.ts";
import { randomHex } from "../../lib/hash.ts";
import {
  copyFd,
  createFifo,
  type FifoReader,
  isAtEnd,
  openFifo,
  openFifoReader,
} from "../../platform/fs/fifo.ts";
import { close } from "../../platform/syscalls/files.ts";
import { textOf } from "./context.ts";

/** How a process's stdio is wired. */
export interface StdioOptions {
  readonly terminal: boolean;
  /** Discard everything. Default: false. */
  readonly nullIo?: boolean;
  /** Logger or file that the shim writes to instead. Default: "", none. */
  readonly logUri?: string;
  /** Attach this process's stdin. Default: true. */
  readonly stdin?: boolean;
  /** Nobody here reads: FIFOs stay for a later attach. Default: false. */
  readonly detach?: boolean;
  /** Default: "", containerd's. */
  readonly fifoDir?: string;
}

/** What the flags of `run`, `tasks start` and `tasks exec` say about it. */
export function stdioOf(options: Readonly<Record<string, unknown>>, terminal: boolean): StdioOptions {
  return {
    terminal,
    nullIo: options["nullIo"] === true,
    logUri: textOf(options, "logUri"),
    detach: options["detach"] === true,
    fifoDir: textOf(options, "fifoDir"),
  };
}

/** Stdio of one process on its way. */
export interface ClientStdio {
  /** What the task service is told. */
  readonly stdio: Stdio;
  /** Call when the shim has opened its ends (create or exec returned). */
  opened(): void;
  /** Resolves when the output has been copied to its end. */
  drained(): Promise<void>;
  /** Resolves when nobody reads this process's stdout any more, as in `| head -1`; most often never. */
  readonly unread: Promise<void>;
  /** `onEof` runs when this process's stdin ends. */
  copyStdin(onEof: () => void): void;
  /** Ends copying and removes the FIFOs (unless detached). */
  dispose(): void;
  /** The same for a process that was never made: detached FIFOs go too. */
  abandon(): void;
}

/** Default folder of FIFOs, containerd's. */
const DEFAULT_DIR = "/run/containerd/fifo";

/** Makes the FIFOs of process `id` and starts to copy its output. */
export async function openStdio(id: string, options: StdioOptions): Promise<ClientStdio> {
  const { terminal, nullIo = false, logUri = "", stdin = true, detach = false, fifoDir = "" } = options;
  if (nullIo) return fixed({ stdin: "", stdout: "", stderr: "", terminal });
  if (logUri !== "") return fixed({ stdin: "", stdout: logUri, stderr: terminal ? "" : logUri, terminal });
  const dir = join(fifoDir === "" ? DEFAULT_DIR : fifoDir, randomHex(6));
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = (name: string): string => join(dir, `${id}-${name}`);
  const stdio: Stdio = {
    stdin: stdin ? path("stdin") : "",
    stdout: path("stdout"),
    stderr: terminal ? "" : path("stderr"),
    terminal,
  };
  const fifos = [stdio.stdin, stdio.stdout, stdio.stderr].filter((fifo) => fifo !== "");
  for (const fifo of fifos) createFifo(fifo, 0o600);
  // detached, the FIFOs stay for a later attach; a shim still wants a reader at the other end while it opens them
  const remove = (): void => {
    try {
      // known by name: a third of what it takes to look for them
      for (const fifo of fifos) unlinkSync(fifo);
      rmdirSync(dir);
    } catch {
      // somebody else was here
      rmSync(dir, { recursive: true, force: true });
    }
  };
  return detach ? holdOpen(stdio, remove) : attachStdio(stdio, remove);
}

/** Copies the output FIFOs of a process to this process's stdout and stderr. */
export function attachStdio(stdio: Stdio, remove: () => void = () => {}): ClientStdio {
  const stop = new AbortController();
  const copies: Promise<unknown>[] = [];
  const readers: FifoReader[] = [];
  let lost = (): void => {};
  const unread = new Promise<void>((resolve) => {
    lost = resolve;
  });
  for (const [path, target] of [
    [stdio.stdout, 1],
    [stdio.stderr, 2],
  ] as const) {
    if (path === "") continue;
    const reader = openFifoReader(path);
    readers.push(reader);
    const onLost = (err: unknown): void => {
      if (target === 1 && err instanceof Error && "code" in err && err.code === "EPIPE") lost();
    };
    const copied = copyFd(reader.fd, [target], { signal: stop.signal, onLost });
    copied.catch(() => {}); // told when all of it is waited for
    copies.push(copied);
  }
  let stdinFd: number | undefined;
  const opened = (): void => {
    for (const reader of readers) reader.release();
  };
  const dispose = (): void => {
    stop.abort();
    opened();
    for (const reader of readers) close(reader.fd);
    if (stdinFd !== undefined) close(stdinFd);
    remove();
  };
  return {
    stdio,
    opened,
    unread,
    async drained() {
      opened();
      await Promise.all(copies);
    },
    copyStdin(onEof) {
      if (stdio.stdin === "") return;
      const fd = openFifo(stdio.stdin);
      // no copy, with a thread for its end, of nothing
      if (isAtEnd(0)) {
        close(fd);
        onEof();
        return;
      }
      stdinFd = fd;
      void copyFd(0, [fd], { signal: stop.signal })
        .catch(() => {})
        .then(() => {
          if (stop.signal.aborted) return;
          stdinFd = undefined;
          close(fd);
          onEof();
        });
    },
    dispose,
    abandon: dispose,
  };
}

/** Removes the FIFOs of a process that is gone, and their folder when nothing else is in it. Other files are left alone. */
export function removeFifos(stdio: Pick<Stdio, "stdin" | "stdout" | "stderr">): void {
  for (const path of [stdio.stdin, stdio.stdout, stdio.stderr]) {
    try {
      if (!path.startsWith("/") || !lstatSync(path).isFIFO()) continue;
      rmSync(path, { force: true });
      rmdirSync(dirname(path));
    } catch {
      // gone, or a folder with other things in it
    }
  }
}

function holdOpen(stdio: Stdio, remove: () => void): ClientStdio {
  const fds = [stdio.stdin, stdio.stdout, stdio.stderr].filter((path) => path !== "").map(openFifo);
  const dispose = (): void => {
    for (const fd of fds) close(fd);
  };
  return {
    ...fixed(stdio),
    dispose,
    abandon() {
      dispose();
      remove();
    },
  };
}

function fixed(stdio: Stdio): ClientStdio {
  const unread = new Promise<void>(() => {});
  return { stdio, opened() {}, unread, async drained() {}, copyStdin() {}, dispose() {}, abandon() {} };
}
