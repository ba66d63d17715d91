/**
 * Standard streams of a process. A stream is named as clients name it: "" (nothing), a FIFO path or `fifo://`, `file://`
 * (append), `binary://` and `binary-v2://` (a logger process), `cri-log://` (a Kubernetes log, see README).
 *
 * Without a terminal, FIFOs and logger pipes are given to the container itself: nothing is copied, a slow reader slows the
 * writer, and the death of the shim tears no line. The shim keeps every FIFO open in both directions while the process
 * lives, so a client may go away and come back without SIGPIPE or an early end of file. Files get a pipe and a copy in
 * between: a container must not be able to truncate or seek in a host file. With a terminal, the master is copied.
 *
 * CRIU can dump pipes, but no FIFO of a mount that the container does not have: a process that may be checkpointed gets pipes and
 * copies of FIFOs, too.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { invalidArgument } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { sleep } from "../../src/lib/retry.ts";
import { adoptFifoReader, openFifo, openFifoReader, openReadFifo } from "../../src/platform/fs/fifo.ts";
import {
  AT_EMPTY_PATH,
  O_APPEND,
  O_CREAT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFIFO,
} from "../../src/platform/syscalls/constants.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { close, dup, open, pipe2 } from "../../src/platform/syscalls/files.ts";
import { fstat, stat } from "../../src/platform/syscalls/stat.ts";
import { fchownat } from "../../src/platform/syscalls/tree.ts";
import type { StreamName } from "../shared/cri-log.ts";
import { type LogAddress, parseLogAddress } from "../shared/log-address.ts";
import { knownLogger, startLogger } from "./logger.ts";
import { Opened, type ProcessStdio, type SinkState, type StdioState } from "./opened.ts";
import { terminalStdio } from "./terminal.ts";

/** Longest wait for a client that opens its end of a FIFO later than it says, in milliseconds. */
const READER_MS = 2000;
/** Between two looks at that, in milliseconds. */
const LOOK_MS = 2;

/** Whose streams they are; loggers get these names. */
export interface StdioOwner {
  readonly id: string;
  readonly namespace: string;
  /** Owner of the files the container gets; 0 and 0 leaves them as they are. */
  readonly uid: number;
  readonly gid: number;
  /** The process gets nothing but pipes, so that it can be checkpointed. */
  readonly pipes: boolean;
}

export type Target =
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
  const opened = new Opened(log);
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
    const writers = await writersWhenRead([stdout, stderr], opened);
    return streams.terminal
      ? openTerminal(opened, stdin, stdout)
      : openPlain(opened, stdin, stdout, stderr, owner, writers);
  } catch (error) {
    await opened.closeAll();
    throw error;
  }
}

/**
 * Waits, with a bound, until somebody reads the FIFOs of output, as containerd's shim does by opening them: clients open theirs on
 * threads of their own, and stop those, come to read or not, when Delete is answered. What a process that was quicker than such a
 * thread had written would be lost with its last writer.
 * @returns a writer for each FIFO with a reader, to be closed with the child's ends
 */
export async function writersWhenRead(
  targets: readonly Target[],
  opened: Opened,
): Promise<Map<string, number>> {
  const writers = new Map<string, number>();
  const late = performance.now() + READER_MS;
  for (const target of targets) {
    if (target.kind !== "fifo" || writers.has(target.path)) continue;
    for (;;) {
      const fd = openReadFifo(target.path);
      if (fd !== undefined) {
        // held: a reader that saw a writer come and go would take that for the end
        writers.set(target.path, opened.forChild(fd));
        break;
      }
      if (performance.now() >= late) {
        opened.log.warn("start with a FIFO that nobody reads", { path: target.path });
        break;
      }
      await sleep(LOOK_MS);
    }
  }
  return writers;
}

/** The streams of a process that was started before the shim slept. */
export async function adoptStdio(state: StdioState, log: Logger): Promise<ProcessStdio> {
  const opened = new Opened(log);
  for (const fd of state.fds) opened.keep(fd);
  if (state.logger !== undefined) opened.logger = knownLogger(state.logger);
  for (const { path, max, rotate, fd, begun } of state.logs) {
    const { CriLog } = await import("../shared/cri-log.ts");
    opened.logs.set(path, new CriLog(path, max, log, rotate, fd));
    opened.begun.set(path, begun);
  }
  if (state.terminal === undefined) {
    for (const { from, to } of state.copies) opened.copy(from, to);
    for (const { from, to } of state.inputs) opened.copyIn(from, to);
    return plainStdio(opened, [-1, -1, -1], state.input, state.keepers);
  }
  const { master, input, output, reader, keeper } = state.terminal;
  const from = reader === undefined ? undefined : adoptFifoReader(reader, keeper);
  return terminalStdio(opened, [-1, -1, -1], from, output, { master, input });
}

function openPlain(
  opened: Opened,
  stdin: Target,
  stdout: Target,
  stderr: Target,
  owner: StdioOwner,
  writers: ReadonlyMap<string, number>,
): ProcessStdio {
  /** A pipe whose other end is copied. */
  const piped = (to: SinkState): number => {
    const ends = pipe2();
    opened.forChild(ends.write);
    opened.copy(opened.keep(ends.read), to);
    return ends.write;
  };
  let input: number | undefined;
  const inFd = ((): number => {
    if (stdin.kind !== "fifo") return opened.forChild(open("/dev/null", O_RDONLY));
    input = opened.keep(openFifo(stdin.path));
    if (!owner.pipes) return opened.forChild(open(stdin.path, O_RDONLY));
    const ends = pipe2();
    opened.forChild(ends.read);
    opened.keep(ends.write);
    opened.copyIn(opened.keep(open(stdin.path, O_RDONLY | O_NONBLOCK)), ends.write);
    return ends.read;
  })();
  const keepers: number[] = [];
  const output = (target: Target, name: StreamName): number => {
    switch (target.kind) {
      case "null":
        return opened.forChild(open("/dev/null", O_RDWR));
      case "fifo":
        if (owner.pipes) return piped({ fd: opened.keep(openFifo(target.path)) });
        keepers.push(opened.keep(openFifo(target.path)));
        return writers.get(target.path) ?? opened.forChild(open(target.path, O_WRONLY));
      case "binary": {
        const fd = opened.logger?.[name];
        // Only stdout names the logger; it serves both streams.
        return fd ?? opened.forChild(open("/dev/null", O_RDWR));
      }
      case "file":
        return piped({ fd: opened.keep(openAppend(target.path)) });
      case "log":
        return piped({ log: target.path, name });
    }
  };
  const outFd = output(stdout, "stdout");
  const errFd = output(stderr, "stderr");
  if (owner.uid !== 0 || owner.gid !== 0)
    for (const fd of [inFd, outFd, errFd])
      if (fstat(fd).type === S_IFIFO) fchownat(fd, "", owner.uid, owner.gid, AT_EMPTY_PATH);
  return plainStdio(opened, [inFd, outFd, errFd], input, keepers);
}

export function plainStdio(
  opened: Opened,
  fds: readonly [number, number, number],
  input: number | undefined,
  keepers: readonly number[],
): ProcessStdio {
  return {
    logs: [...opened.logs.values()],
    fds,
    spawned: () => opened.spawned(),
    attach: (master) => close(master),
    resize: () => {},
    closeStdin: () => opened.drop(input),
    exited: () => {
      opened.drop(input);
      opened.stopInput();
      for (const fd of keepers) opened.drop(fd);
    },
    get drained() {
      return opened.drained;
    },
    close: () => opened.closeAll(),
    rest: (kept) => ({
      ...opened.rest(kept),
      input: opened.has(input),
      keepers: keepers.filter((fd) => opened.has(fd)),
    }),
  };
}

function openTerminal(opened: Opened, stdin: Target, stdout: Target): ProcessStdio {
  const reader = stdin.kind === "fifo" ? openFifoReader(stdin.path) : undefined;
  if (reader !== undefined) opened.keep(reader.fd);
  try {
    const output = ((): SinkState | undefined => {
      if (stdout.kind === "fifo") return { fd: opened.keep(openFifo(stdout.path)) };
      if (stdout.kind === "file") return { fd: opened.keep(openAppend(stdout.path)) };
      if (stdout.kind === "log") return { log: stdout.path, name: "stdout" };
      if (stdout.kind === "binary" && opened.logger !== undefined)
        return { fd: opened.keep(dup(opened.logger.stdout)) };
      return undefined;
    })();
    // The terminal is the container's; the command itself says what it has to say in its log.
    const none = opened.forChild(open("/dev/null", O_RDWR));
    return terminalStdio(opened, [none, none, none], reader, output, undefined);
  } catch (error) {
    reader?.release();
    throw error;
  }
}

function openAppend(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  return open(path, O_WRONLY | O_CREAT | O_APPEND, 0o644);
}
