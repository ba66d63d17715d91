import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { concatBytes } from "../../lib/bytes.ts";
import { isBun, isDeno } from "../runtime.ts";
import { O_RDWR } from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, open, pipe2 } from "../syscalls/files.ts";
import { posixSpawn } from "../syscalls/posix-spawn.ts";
import { kill } from "../syscalls/process.ts";
import { disownChild, ownChild, waitForExit } from "./reaper.ts";

/** How a child ended: `code` is the exit code, or 128 + signal number. */
export interface ExitStatus {
  readonly code: number;
  /** "SIGKILL", ... when a signal ended it. */
  readonly signal: string | undefined;
}

/** What a child gets as fd 0, 1, 2, 3, ...: a number is one of our kernel fds, which stays ours to close. */
export type StdioEntry = number | "ignore" | "pipe" | "inherit";

/** Options of {@link spawnProcess}. */
export interface SpawnOptions {
  /** Default: all three ignored. "inherit" and "pipe" only for the first three. */
  readonly stdio?: readonly StdioEntry[];
  /** The child's whole environment. Default: ours. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** argv[0] when it is not the command. */
  readonly argv0?: string;
  /** Own session (setsid): lives on when we end, and `killGroup` reaches its whole group. */
  readonly detached?: boolean;
}

/** A running child. */
export interface ChildHandle {
  readonly pid: number;
  readonly exited: Promise<ExitStatus>;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Sends a signal; false when it is gone. */
  kill(signal: number): boolean;
  /** Sends a signal to its process group (a detached child leads one); false when it is gone. */
  killGroup(signal: number): boolean;
  /** Lets our event loop end while the child runs. */
  unref(): void;
}

/**
 * Starts a program. Never through a shell.
 * @throws SyscallError when it cannot be started (ENOENT, EACCES)
 */
export function spawnProcess(
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildHandle {
  const stdio = options.stdio ?? ["ignore", "ignore", "ignore"];
  if (isBun && options.detached !== true && !stdio.includes("pipe")) {
    const child = spawnBun(command, args, stdio, options);
    if (child !== undefined) return child;
  }
  // Deno's node:child_process knows no kernel fds.
  const native = !isDeno || !stdio.some((entry) => typeof entry === "number");
  return native ? spawnNative(command, args, stdio, options) : spawnPosix(command, args, stdio, options);
}

/**
 * Without pipes Bun's own function is enough: node:child_process, with the streams below it, costs half a megabyte of private
 * memory and milliseconds of start. Undefined when it cannot be started: the other way finds out why.
 */
function spawnBun(
  command: string,
  args: readonly string[],
  stdio: readonly StdioEntry[],
  options: SpawnOptions,
): ChildHandle | undefined {
  const { promise: exited, resolve } = Promise.withResolvers<ExitStatus>();
  let ended = false;
  let child: ReturnType<typeof Bun.spawn>;
  try {
    child = Bun.spawn([command, ...args], {
      stdio: stdio.map((entry) => (entry === "pipe" ? "ignore" : entry)) as ["ignore", "ignore", "ignore"],
      env: options.env === undefined ? process.env : { ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.argv0 === undefined ? {} : { argv0: options.argv0 }),
      onExit(_child, code, signal) {
        ended = true;
        disownChild(pid);
        // typed as a number, and a name
        const name = typeof signal === "number" ? signalName(signal) : (signal as string | null);
        resolve(toStatus(code, name));
      },
    });
  } catch {
    return undefined;
  }
  const { pid } = child;
  ownChild(pid);
  return {
    pid,
    exited,
    stdin: undefined,
    stdout: undefined,
    stderr: undefined,
    kill: (signal) => !ended && tryKill(pid, signal),
    killGroup: (signal) => tryKill(-pid, signal),
    unref: () => child.unref(),
  };
}

/** Files that a start takes for itself at the most: three pairs of sockets, the child's pidfd, one that tells of exec. */
const START_FILES = 8;

/** What there are no more files by, "EMFILE" or "ENFILE": node:child_process tells why it failed a turn later, as an event. */
function outOfFiles(): string | undefined {
  const held: number[] = [];
  try {
    while (held.length < START_FILES) held.push(open("/dev/null", O_RDWR));
    return undefined;
  } catch (err) {
    return isErrno(err, "EMFILE", "ENFILE") ? err.code : undefined;
  } finally {
    for (const fd of held) close(fd);
  }
}

function spawnNative(
  command: string,
  args: readonly string[],
  stdio: readonly StdioEntry[],
  options: SpawnOptions,
): ChildHandle {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const child: ChildProcess = spawn(command, [...args], {
    stdio: [...stdio],
    detached: options.detached ?? false,
    ...(options.env === undefined ? {} : { env: { ...options.env } as NodeJS.ProcessEnv }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.argv0 === undefined ? {} : { argv0: options.argv0 }),
  });
  const { pid } = child;
  if (pid === undefined) {
    child.on("error", () => {});
    throw SyscallError.of("spawn", outOfFiles() ?? "ENOENT", command);
  }
  ownChild(pid);
  const { promise: exited, resolve } = Promise.withResolvers<ExitStatus>();
  let ended = false;
  child.on("error", () => {});
  child.on("exit", (code, signal) => {
    ended = true;
    disownChild(pid);
    resolve(toStatus(code, signal));
  });
  return {
    pid,
    exited,
    stdin: child.stdin ?? undefined,
    stdout: child.stdout ?? undefined,
    stderr: child.stderr ?? undefined,
    kill: (signal) => !ended && tryKill(pid, signal),
    killGroup: (signal) => tryKill(-pid, signal),
    unref: () => child.unref(),
  };
}

function spawnPosix(
  command: string,
  args: readonly string[],
  stdio: readonly StdioEntry[],
  options: SpawnOptions,
): ChildHandle {
  const childSide: number[] = [];
  const toClose: number[] = [];
  const ours: (number | undefined)[] = [];
  stdio.forEach((entry, index) => {
    if (typeof entry === "number") {
      childSide.push(entry);
    } else if (entry === "inherit") {
      childSide.push(index);
    } else if (entry === "ignore") {
      const fd = open("/dev/null", O_RDWR);
      childSide.push(fd);
      toClose.push(fd);
    } else {
      const pipe = pipe2();
      childSide.push(index === 0 ? pipe.read : pipe.write);
      toClose.push(index === 0 ? pipe.read : pipe.write);
      ours[index] = index === 0 ? pipe.write : pipe.read;
    }
  });
  let pid: number;
  try {
    pid = posixSpawn({
      command,
      argv: [options.argv0 ?? command, ...args],
      env: options.env ?? process.env,
      fds: childSide,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      newSession: options.detached ?? false,
    });
  } catch (error) {
    for (const fd of ours) if (fd !== undefined) close(fd);
    throw error;
  } finally {
    for (const fd of toClose) close(fd);
  }
  let ended = false;
  const exited = waitForExit(pid).then((exit) => {
    ended = true;
    return {
      code: exit.code,
      signal: exit.signal === undefined ? undefined : signalName(exit.signal),
    };
  });
  const socket = (fd: number | undefined, readable: boolean): Socket | undefined =>
    fd === undefined
      ? undefined
      : new (process.getBuiltinModule("node:net").Socket)({ fd, readable, writable: !readable });
  return {
    pid,
    exited,
    stdin: socket(ours[0], false),
    stdout: socket(ours[1], true),
    stderr: socket(ours[2], true),
    kill: (signal) => !ended && tryKill(pid, signal),
    killGroup: (signal) => tryKill(-pid, signal),
    unref: () => {},
  };
}

/** Options of {@link run}. */
export interface RunOptions extends Omit<SpawnOptions, "stdio" | "detached"> {
  /** Fed to the child and closed. Default: /dev/null. */
  readonly stdin?: Uint8Array | string;
  /** Our fds that become 3, 4, ... of the child. */
  readonly extraFds?: readonly number[];
  /** SIGKILL after so many milliseconds; the promise rejects with {@link RunTimeoutError}. */
  readonly timeoutMs?: number;
  /** SIGKILL on abort; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Give the child its own session and kill the whole group. */
  readonly killGroup?: boolean;
  /** Bytes kept of each of stdout and stderr; the rest is read and dropped. Default 16 MiB. */
  readonly maxOutput?: number;
  /**
   * "close" (default) waits until every holder closed stdout and stderr; "exit" only for the child, for programs that leave
   * children behind.
   */
  readonly until?: "close" | "exit";
}

/** What a finished program left. */
export interface RunResult extends ExitStatus {
  readonly pid: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** True when output beyond `maxOutput` was dropped. */
  readonly truncated: boolean;
}

/** A program was killed for taking too long. */
export class RunTimeoutError extends Error {
  override readonly name = "RunTimeoutError";
  readonly code = "ETIMEDOUT";
}

/**
 * Runs a program to its end. A non-zero exit is a result, not an error.
 * @throws SyscallError when it cannot be started, RunTimeoutError, or the signal's reason
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  options.signal?.throwIfAborted();
  const {
    stdin,
    extraFds = [],
    timeoutMs,
    signal,
    killGroup = false,
    maxOutput = 16 << 20,
    until = "close",
  } = options;
  const child = spawnProcess(command, args, {
    stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe", ...extraFds],
    detached: killGroup,
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.argv0 === undefined ? {} : { argv0: options.argv0 }),
  });
  let failure: { readonly reason: unknown } | undefined;
  const stop = (reason: unknown): void => {
    failure ??= { reason };
    if (killGroup) child.killGroup(9);
    else child.kill(9);
  };
  const onAbort = (): void => stop(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(
          () => stop(new RunTimeoutError(`run "${command}": timed out after ${timeoutMs}ms`)),
          timeoutMs,
        );
  const out = collect(child.stdout, maxOutput);
  const err = collect(child.stderr, maxOutput);
  if (stdin !== undefined) {
    // A child that does not read its input is no failure of ours.
    child.stdin?.on("error", () => {});
    child.stdin?.end(stdin);
  }
  try {
    const status = await child.exited;
    // Grandchildren that outlive a killed child may hold the pipes for ever.
    if (until === "close" && failure === undefined) await Promise.all([out.ended, err.ended]);
    else
      await Promise.race([Promise.all([out.ended, err.ended]), new Promise((done) => setTimeout(done, 50))]);
    if (failure !== undefined) throw failure.reason;
    return {
      ...status,
      pid: child.pid,
      stdout: concatBytes(out.chunks),
      stderr: concatBytes(err.chunks),
      truncated: out.truncated() || err.truncated(),
    };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}

function collect(
  stream: Readable | undefined,
  limit: number,
): { chunks: Uint8Array[]; ended: Promise<void>; truncated: () => boolean } {
  const chunks: Uint8Array[] = [];
  let kept = 0;
  let dropped = false;
  const ended = new Promise<void>((resolve) => {
    if (stream === undefined) {
      resolve();
      return;
    }
    stream.on("data", (chunk: Uint8Array) => {
      const part = kept + chunk.length <= limit ? chunk : chunk.subarray(0, limit - kept);
      if (part.length < chunk.length) dropped = true;
      if (part.length > 0) chunks.push(part);
      kept += part.length;
    });
    stream.once("end", resolve);
    stream.once("error", () => resolve());
    stream.once("close", resolve);
  });
  return { chunks, ended, truncated: () => dropped };
}

function toStatus(code: number | null, signal: string | null): ExitStatus {
  if (signal === null) return { code: code ?? 0, signal: undefined };
  const number = Object.entries(constants.signals).find(([name]) => name === signal)?.[1] ?? 0;
  return { code: 128 + number, signal };
}

function signalName(signal: number): string {
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `SIG${signal}`;
}

function tryKill(pid: number, signal: number): boolean {
  try {
    kill(pid, signal);
    return true;
  } catch (error) {
    if (isErrno(error, "ESRCH")) return false;
    throw error;
  }
}
