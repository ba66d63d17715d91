import type { Logger } from "../../core/log.ts";
import { createFdSink, type FdSink, readFd } from "../../platform/fs/fd-stream.ts";
import { openFifo } from "../../platform/fs/fifo.ts";
import { close } from "../../platform/syscalls/files.ts";
import type { ByteSink, ByteSource, ExecRequest, StdioStreams, TerminalSize } from "../streaming/runtime.ts";
import type { ExecDeps } from "./deps.ts";
import { type RunningExec, startExec } from "./process.ts";
import { settlesWithin } from "./timed.ts";

/** How long the output of a command that ended is waited for while something it left behind holds it. Milliseconds. */
const DRAIN_MS = 4000;
/** A shell whose terminal went away gets a hang-up, and this long to leave. Milliseconds. */
const HANGUP_MS = 10_000;
const SIGHUP = 1;

/**
 * Runs a command with a client's streams.
 *
 * A client that leaves: its input ends; a command with a terminal gets SIGHUP as from a terminal that was unplugged (and is
 * killed when it stays); one without goes on to its end, and what it writes is thrown away.
 * @returns its exit code
 */
export async function streamExec(
  deps: ExecDeps,
  request: ExecRequest,
  streams: StdioStreams,
): Promise<number> {
  const wanted = {
    stdin: streams.stdin !== undefined,
    stdout: streams.stdout !== undefined,
    stderr: streams.stderr !== undefined,
    tty: request.tty,
  };
  const process = await startExec(deps, request.containerId, request.command, wanted, streams.signal);
  const stop = new AbortController();
  let input: Feed | undefined;
  const cleanup = async (): Promise<void> => {
    stop.abort();
    input?.abandon();
    await process.dispose();
  };
  const { stdio, stdout, stderr } = process.fifos;
  const outputs = new Outputs(stop.signal, streams.signal);
  try {
    outputs.copy(stdout, streams.stdout);
    outputs.copy(stderr, streams.stderr);
    if (streams.stdin !== undefined)
      input = feed(stdio.stdin, streams.stdin, () => process.closeStdin().catch(() => {}));
  } catch (err) {
    await cleanup();
    throw err;
  }
  void applySizes(streams.resize, (size) => process.resize(size.columns, size.rows), deps.log);
  const finish = async (): Promise<number> => {
    const exit = await process.exited;
    await outputs.drained(deps.drainMs > 0 ? deps.drainMs : DRAIN_MS);
    return exit.status;
  };
  const outcome = await Promise.race([
    finish().then(
      (code) => ({ code }),
      (err: unknown) => ({ err }),
    ),
    gone(streams.signal),
  ]);
  if (outcome === undefined) {
    input?.abandon();
    void leave(process, request.tty)
      .then(() => finish())
      .catch(() => {})
      .finally(cleanup);
    return 0;
  }
  await cleanup();
  if ("err" in outcome) throw outcome.err;
  return outcome.code;
}

async function leave(process: RunningExec, tty: boolean): Promise<void> {
  await process.closeStdin().catch(() => {});
  if (!tty) return;
  await process.signal(SIGHUP);
  if (!(await settlesWithin(process.exited, HANGUP_MS))) await process.killTree();
}

/** Resolves when the client is gone. */
export function gone(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

/** Output on its way to a client. */
export class Outputs {
  readonly #signal: AbortSignal;
  readonly #client: AbortSignal;
  readonly #copies: Promise<void>[] = [];
  /** Chunks that were read and that the client has not taken yet. */
  #untaken = 0;

  /**
   * @param signal ends all copies
   * @param client aborts when the client is gone
   */
  constructor(signal: AbortSignal, client: AbortSignal) {
    this.#signal = signal;
    this.#client = client;
  }

  /** Copies `fd`, where there is one, to its end; once the client takes no more, the rest is read and dropped. */
  copy(fd: number | undefined, sink: ByteSink | undefined): void {
    if (fd === undefined) return;
    const copy = this.#copy(fd, sink);
    // told by nobody: what could not be read is missing, as after a crash of the process
    copy.catch(() => {});
    this.#copies.push(copy);
  }

  async #copy(fd: number, sink: ByteSink | undefined): Promise<void> {
    let open = sink !== undefined;
    for await (const chunk of readFd(fd, this.#signal)) {
      if (!open) continue;
      this.#untaken++;
      try {
        await sink?.write(chunk);
      } catch {
        open = false;
      }
      this.#untaken--;
    }
  }

  /**
   * Waits for the last output of a process that ended: for as long as the client takes to read what there is, and `ms` for the end
   * of what something left behind still holds.
   */
  async drained(ms: number): Promise<void> {
    const all = Promise.allSettled(this.#copies);
    const isTaken = (): boolean => this.#untaken === 0 || this.#client.aborted || this.#signal.aborted;
    while (!(await settlesWithin(all, ms)) && !isTaken());
  }
}

/** Input on its way into a FIFO. */
export interface Feed {
  /** The process is gone or the client is: drops what was not read. */
  abandon(): void;
}

/** Copies what a client sends into the FIFO at `path`; at the client's end `onEnd` runs after our end is closed. */
export function feed(path: string, source: ByteSource, onEnd: () => Promise<void> | void): Feed {
  const fd = openFifo(path);
  let sink: FdSink;
  try {
    sink = createFdSink(fd);
  } finally {
    close(fd);
  }
  let closed = false;
  const end = async (abandon: boolean): Promise<void> => {
    if (closed) return;
    closed = true;
    await sink.close(abandon).catch(() => {});
  };
  void (async () => {
    try {
      for await (const chunk of source) {
        if (closed) return;
        await sink.write(chunk);
      }
    } catch {
      // the process closed its input, or the client left
    }
    if (closed) return;
    await end(false);
    await onEnd();
  })();
  return {
    abandon() {
      void end(true);
    },
  };
}

/** Applies terminal sizes as they come; failures matter to nobody. */
export async function applySizes(
  sizes: AsyncIterable<TerminalSize>,
  resize: (size: TerminalSize) => Promise<void>,
  log: Logger,
): Promise<void> {
  for await (const size of sizes) {
    await resize(size).catch((err: unknown) => log.debug("resize terminal", { err }));
  }
}
