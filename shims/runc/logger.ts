/**
 * Logger processes (`binary://PATH?ARG=VALUE`): fd 3 reads stdout, fd 4 reads stderr, fd 5 is closed (or, with `binary-v2`,
 * written to) when the logger is ready. Its environment holds CONTAINER_ID and CONTAINER_NAMESPACE and nothing else.
 */
import { invalidArgument, unavailable } from "../../src/core/errors.ts";
import { sleep } from "../../src/lib/retry.ts";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { waitForExit } from "../../src/platform/process/reaper.ts";
import { spawnProcess } from "../../src/platform/process/spawn.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { close, pipe2 } from "../../src/platform/syscalls/files.ts";
import { kill } from "../../src/platform/syscalls/process.ts";

/** Time a logger gets to finish after its input ended, in milliseconds; then it is killed. */
const GRACE_MS = 12_000;
const READY_MS = 30_000;

/** A running logger. */
export interface LoggerProcess {
  /** Write ends for the container. */
  readonly stdout: number;
  readonly stderr: number;
  /** Its pid; 0 when it has ended. */
  readonly pid: number;
  /** Closes our write ends; the container (or the sink) has its own. */
  spawned(): void;
  /** Waits for its end, with a bound. */
  close(): Promise<void>;
}

/** Starts a logger and waits until it is ready. @throws unavailable when it ends or says nothing */
export async function startLogger(
  uri: URL,
  owner: { readonly id: string; readonly namespace: string },
): Promise<LoggerProcess> {
  const command = decodeURIComponent(uri.pathname);
  if (!command.startsWith("/")) throw invalidArgument(`start logger "${uri.href}": path must be absolute`);
  const args: string[] = [];
  for (const [key, value] of uri.searchParams) {
    args.push(key);
    if (value !== "") args.push(value);
  }
  const out = pipe2();
  const err = pipe2();
  const ready = pipe2();
  const writers = new Set([out.write, err.write]);
  const dropWriters = (): void => {
    for (const fd of writers) close(fd);
    writers.clear();
  };
  let child: ReturnType<typeof spawnProcess>;
  try {
    child = spawnProcess(command, args, {
      stdio: ["ignore", "ignore", "ignore", out.read, err.read, ready.write],
      env: { CONTAINER_ID: owner.id, CONTAINER_NAMESPACE: owner.namespace },
    });
  } catch (error) {
    dropWriters();
    close(ready.read);
    throw error;
  } finally {
    for (const fd of [out.read, err.read, ready.write]) close(fd);
  }
  const fail = (message: string): never => {
    child.kill(9);
    dropWriters();
    throw unavailable(`start logger "${command}": ${message}`);
  };
  const stop = AbortSignal.timeout(READY_MS);
  let said = false;
  for await (const _chunk of readFd(ready.read, stop)) {
    said = true;
    break;
  }
  close(ready.read);
  if (stop.aborted) return fail("not ready in time");
  if (!said && uri.protocol === "binary-v2:") return fail("ended before it was ready");
  const running = runningLogger(child.pid, child.exited, (signal) => child.kill(signal));
  return {
    stdout: out.write,
    stderr: err.write,
    get pid() {
      return running.pid;
    },
    spawned: dropWriters,
    async close() {
      dropWriters();
      await running.close();
    },
  };
}

/** A logger that was started before the shim slept. @param pid 0: it has ended */
export function knownLogger(pid: number): LoggerProcess {
  const exited = pid === 0 ? Promise.resolve() : waitForExit(pid);
  const running = runningLogger(pid, exited, (signal) => {
    try {
      kill(pid, signal);
    } catch (error) {
      if (!isErrno(error, "ESRCH")) throw error;
    }
  });
  return {
    stdout: -1,
    stderr: -1,
    get pid() {
      return running.pid;
    },
    spawned: () => {},
    close: running.close,
  };
}

function runningLogger(
  pid: number,
  exited: Promise<unknown>,
  signal: (signal: number) => unknown,
): { readonly pid: number; close(): Promise<void> } {
  let ended = pid === 0;
  void exited.then(() => {
    ended = true;
  });
  return {
    get pid() {
      return ended ? 0 : pid;
    },
    async close() {
      if ((await Promise.race([exited.then(() => true), sleep(GRACE_MS)])) !== true) signal(15);
      if ((await Promise.race([exited.then(() => true), sleep(1000)])) !== true) signal(9);
    },
  };
}
