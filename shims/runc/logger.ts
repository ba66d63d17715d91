/**
 * Logger processes (`binary://PATH?ARG=VALUE`): fd 3 reads stdout, fd 4 reads stderr, fd 5 is closed (or, with `binary-v2`,
 * written to) when the logger is ready. Its environment holds CONTAINER_ID and CONTAINER_NAMESPACE and nothing else.
 */
import { invalidArgument, unavailable } from "../../src/core/errors.ts";
import { sleep } from "../../src/lib/retry.ts";
import { createFdSink, type FdSink, readFd } from "../../src/platform/fs/fd-stream.ts";
import { spawnProcess } from "../../src/platform/process/spawn.ts";
import { close, pipe2 } from "../../src/platform/syscalls/files.ts";

/** Time a logger gets to finish after its input ended, in milliseconds; then it is killed. */
const GRACE_MS = 12_000;
const READY_MS = 30_000;

/** A running logger. */
export interface LoggerProcess {
  /** Write ends for the container. */
  readonly stdout: number;
  readonly stderr: number;
  /** Our writer to its stdout stream, for terminals. */
  sink(): FdSink;
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
  return {
    stdout: out.write,
    stderr: err.write,
    sink: () => createFdSink(out.write),
    spawned: dropWriters,
    async close() {
      dropWriters();
      if ((await Promise.race([child.exited.then(() => true), sleep(GRACE_MS)])) !== true) child.kill(15);
      if ((await Promise.race([child.exited.then(() => true), sleep(1000)])) !== true) child.kill(9);
    },
  };
}
