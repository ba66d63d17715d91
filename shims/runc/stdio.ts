/**
 * Standard streams of a process. A stream is named as clients name it: "" (nothing), a FIFO path or `fifo://`, `file://`
 * (append), `binary://` and `binary-v2://` (a logger process), `cri-log://` (a Kubernetes log, see README).
 *
 * Without a terminal, FIFOs and logger pipes are given to the container itself: nothing is copied, a slow reader slows the
 * writer, and the death of the shim tears no line. The shim keeps every FIFO open in both directions while the process
 * lives, so a client may go away and come back without SIGPIPE or an early end of file. Files get a pipe and a copy in
 * between: a container must not be able to truncate or seek in a host file. With a terminal, the master is copied.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { invalidArgument } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { createFdSink, type FdSink, readFd } from "../../src/platform/fs/fd-stream.ts";
import { copyFd, openFifo, openFifoReader } from "../../src/platform/fs/fifo.ts";
import {
  AT_EMPTY_PATH,
  O_APPEND,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFIFO,
} from "../../src/platform/syscalls/constants.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { close, open, pipe2 } from "../../src/platform/syscalls/files.ts";
import { fstat, stat } from "../../src/platform/syscalls/stat.ts";
import { fchownat } from "../../src/platform/syscalls/tree.ts";
import { Pty } from "../../src/platform/tty/console.ts";
import type { CriLog, StreamName } from "../shared/cri-log.ts";
import { type LogAddress, parseLogAddress } from "../shared/log-address.ts";
import { type LoggerProcess, startLogger } from "./logger.ts";

/** Whose streams they are; loggers get these names. */
export interface StdioOwner {
  readonly id: string;
  readonly namespace: string;
  /** Owner of the files the container gets; 0 and 0 leaves them as they are. */
  readonly uid: number;
  readonly gid: number;
}

/** Streams of one process. */
export interface ProcessStdio {
  /** fds 0, 1, 2 of the runtime command, valid until {@link spawned}. */
  readonly fds: readonly [number, number, number];
  /** Closes our copies of the child's ends. Call when the runtime command ended, well or not. */
  spawned(): void;
  /** Copies between the terminal and the streams; takes over `master`. */
  attach(master: number): void;
  resize(columns: number, rows: number): void;
  /** No more input will come from us: the process sees the end when the clients' writers are gone too. */
  closeStdin(): void;
  /** The process ended: lets readers see the end of file as soon as everything is copied. */
  exited(): void;
  /** Kubernetes logs that are written here. */
  readonly logs: readonly CriLog[];
  /** Resolves when everything that was written has been passed on. */
  readonly drained: Promise<void>;
  /** Cuts what is left. */
  close(): Promise<void>;
}

type Target =
  | { readonly kind: "null" }
  | { readonly kind: "fifo"; readonly path: string }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "binary"; readonly uri: URL }
  | ({ readonly kind: "log" } & LogAddress);

/** @throws invalid-argument for a scheme that is not known */
export function parseStream(stream: string): Target {
  if (stream === "") return { kind: "null" };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(stream)?.[1]?.toLowerCase();
  if (scheme === undefined)
    return isFifo(stream) ? { kind: "fifo", path: stream } : { kind: "file", path: stream };
  const path = decodeURIComponent(stream.slice(scheme.length + 3).split("?")[0] ?? "");
  switch (scheme) {
    case "fifo":
      return { kind: "fifo", path };
    case "file":
      return { kind: "file", path };
    case "binary":
    case "binary-v2":
      return { kind: "binary", uri: new URL(stream) };
    case "cri-log":
      return { kind: "log", ...parseLogAddress(stream) };
    default:
      throw invalidArgument(`open stream "${stream}": unknown STDIO scheme "${scheme}"`);
  }
}

function isFifo(path: string): boolean {
  try {
    return stat(path).type === S_IFIFO;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return true;
    throw error;
  }
}

/** Opens the streams. On failure nothing stays open. */
export async function openStdio(streams: Stdio, owner: StdioOwner, log: Logger): Promise<ProcessStdio> {
  const opened = new Opened();
  try {
    const stdin = parseStream(streams.stdin);
    const stdout = parseStream(streams.stdout);
    const stderr = streams.terminal ? ({ kind: "null" } as const) : parseStream(streams.stderr);
    const logger = stdout.kind === "binary" ? await startLogger(stdout.uri, owner) : undefined;
    if (logger !== undefined) opened.logger = logger;
    for (const target of [stdout, stderr]) {
      if (target.kind !== "log" || opened.logs.has(target.path)) continue;
      const { CriLog } = await import("../shared/cri-log.ts");
      opened.logs.set(target.path, new CriLog(target.path, target.max, log, target.rotate));
    }
    return streams.terminal
      ? terminalStdio(opened, stdin, stdout, log)
      : plainStdio(opened, stdin, stdout, stderr, owner, log);
  } catch (error) {
    await opened.closeAll();
    throw error;
  }
}

/** What is open, each to be closed exactly once. */
class Opened {
  readonly child = new Set<number>();
  readonly ours = new Set<number>();
  readonly copies: Promise<unknown>[] = [];
  readonly stop = new AbortController();
  readonly logs = new Map<string, CriLog>();
  logger: LoggerProcess | undefined;

  /** A stream of a log opened before. */
  logSink(path: string, name: StreamName): FdSink | undefined {
    return this.logs.get(path)?.stream(name);
  }
  forChild(fd: number): number {
    this.child.add(fd);
    return fd;
  }
  keep(fd: number): number {
    this.ours.add(fd);
    return fd;
  }
  drop(fd: number | undefined): void {
    if (fd !== undefined && this.ours.delete(fd)) close(fd);
  }
  closeChild(): void {
    for (const fd of this.child) close(fd);
    this.child.clear();
  }
  copy(from: number, to: FdSink, log: Logger, onFirst?: () => void): void {
    const options = { signal: this.stop.signal, ...(onFirst === undefined ? {} : { onFirst }) };
    const done = copyFd(from, [to], options)
      .catch((error: unknown) => log.warn("copy stream", { err: error }))
      .finally(() => to.close(this.stop.signal.aborted).catch(() => {}))
      .finally(() => this.drop(from));
    this.copies.push(done);
  }
  async closeAll(): Promise<void> {
    this.closeChild();
    this.stop.abort();
    await Promise.all(this.copies);
    for (const fd of this.ours) close(fd);
    this.ours.clear();
    await this.logger?.close();
    this.logger = undefined;
  }
}

function plainStdio(
  opened: Opened,
  stdin: Target,
  stdout: Target,
  stderr: Target,
  owner: StdioOwner,
  log: Logger,
): ProcessStdio {
  /** A pipe whose other end is copied. */
  const piped = (to: FdSink): number => {
    const ends = pipe2();
    opened.forChild(ends.write);
    opened.copy(opened.keep(ends.read), to, log);
    return ends.write;
  };
  let input: number | undefined;
  const inFd = ((): number => {
    if (stdin.kind !== "fifo") return opened.forChild(open("/dev/null", O_RDONLY));
    input = opened.keep(openFifo(stdin.path));
    return opened.forChild(open(stdin.path, O_RDONLY));
  })();
  const keepers: number[] = [];
  const output = (target: Target, pipe: "stdout" | "stderr"): number => {
    switch (target.kind) {
      case "null":
        return opened.forChild(open("/dev/null", O_RDWR));
      case "fifo":
        keepers.push(opened.keep(openFifo(target.path)));
        return opened.forChild(open(target.path, O_WRONLY));
      case "binary": {
        const fd = opened.logger?.[pipe];
        // Only stdout names the logger; it serves both streams.
        return fd ?? opened.forChild(open("/dev/null", O_RDWR));
      }
      case "file":
        return piped(openAppend(target.path));
      case "log": {
        const sink = opened.logSink(target.path, pipe);
        return sink === undefined ? opened.forChild(open("/dev/null", O_RDWR)) : piped(sink);
      }
    }
  };
  const outFd = output(stdout, "stdout");
  const errFd = output(stderr, "stderr");
  if (owner.uid !== 0 || owner.gid !== 0)
    for (const fd of [inFd, outFd, errFd])
      if (fstat(fd).type === S_IFIFO) fchownat(fd, "", owner.uid, owner.gid, AT_EMPTY_PATH);
  return {
    logs: [...opened.logs.values()],
    fds: [inFd, outFd, errFd],
    spawned: () => {
      opened.closeChild();
      opened.logger?.spawned();
    },
    attach: (master) => close(master),
    resize: () => {},
    closeStdin: () => opened.drop(input),
    exited: () => {
      opened.drop(input);
      for (const fd of keepers) opened.drop(fd);
    },
    get drained() {
      return Promise.all(opened.copies).then(() => {});
    },
    close: () => opened.closeAll(),
  };
}

function terminalStdio(opened: Opened, stdin: Target, stdout: Target, log: Logger): ProcessStdio {
  const reader = stdin.kind === "fifo" ? openFifoReader(stdin.path) : undefined;
  if (reader !== undefined) opened.keep(reader.fd);
  const sink = ((): FdSink | undefined => {
    if (stdout.kind === "fifo") {
      const fd = openFifo(stdout.path);
      // The sink works on its own duplicate.
      const made = createFdSink(fd);
      close(fd);
      return made;
    }
    if (stdout.kind === "file") return openAppend(stdout.path);
    if (stdout.kind === "log") return opened.logSink(stdout.path, "stdout");
    return stdout.kind === "binary" ? opened.logger?.sink() : undefined;
  })();
  let pty: Pty | undefined;
  const stopInput = new AbortController();
  const pumpIn = async (terminal: Pty, fd: number): Promise<void> => {
    for await (const chunk of readFd(fd, stopInput.signal)) await terminal.write(chunk);
  };
  const pumpOut = async (terminal: Pty): Promise<void> => {
    let broken = sink === undefined;
    for await (const chunk of terminal.read()) {
      if (broken) continue;
      await sink?.write(chunk).catch(() => {
        broken = true;
      });
    }
  };
  return {
    logs: [...opened.logs.values()],
    // The terminal is the container's; the command itself says what it has to say in its log.
    fds: ((): [number, number, number] => {
      const fd = opened.forChild(open("/dev/null", O_RDWR));
      return [fd, fd, fd];
    })(),
    spawned: () => {
      opened.closeChild();
      opened.logger?.spawned();
    },
    attach(master) {
      const terminal = new Pty(master);
      pty = terminal;
      opened.copies.push(
        pumpOut(terminal)
          .catch((error: unknown) => log.warn("copy terminal", { err: error }))
          .finally(() => sink?.close(opened.stop.signal.aborted).catch(() => {})),
      );
      if (reader !== undefined) void pumpIn(terminal, reader.fd).catch(() => {});
    },
    resize: (columns, rows) => pty?.resize({ columns, rows }),
    closeStdin: () => reader?.release(),
    exited: () => {
      reader?.release();
      stopInput.abort();
    },
    get drained() {
      return Promise.all(opened.copies).then(() => {});
    },
    async close() {
      reader?.release();
      stopInput.abort();
      opened.stop.abort();
      await pty?.close();
      if (pty === undefined) await sink?.close(true).catch(() => {});
      await opened.closeAll();
    },
  };
}

function openAppend(path: string): FdSink {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0o644);
  const sink = createFdSink(fd);
  close(fd);
  return sink;
}
