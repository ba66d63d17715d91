/** One process of a container: its phase, its streams and its end. */
import { failedPrecondition, invalidArgument, notFound } from "../../src/core/errors.ts";
import type { Exit, Stdio } from "../../src/core/tasks/tasks.ts";
import { createDeferred } from "../../src/lib/deferred.ts";
import { sleep } from "../../src/lib/retry.ts";
import { nowNs } from "../../src/lib/time.ts";
import { isBeingRead } from "../../src/platform/fs/fifo.ts";
import { waitForExit } from "../../src/platform/process/reaper.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { close } from "../../src/platform/syscalls/files.ts";
import { pidfdOpen, pidfdSendSignal } from "../../src/platform/syscalls/process.ts";
import { Awake, type Kept } from "../shared/rest.ts";
import type { ExecAhead } from "./exec-ahead.ts";
import type { ProcessStdio, StdioState } from "./opened.ts";
import { isAlive, type ProcessEvent, type ProcessPhase, pidOf, transition } from "./state.ts";

/** Longest wait for output to be passed on when a process is deleted, in milliseconds. */
const DRAIN_MS = 10_000;
/** Longest wait for clients to read the last output when a process is deleted, in milliseconds. */
const READ_MS = 2000;
/** Between two looks at that, in milliseconds. */
const LOOK_MS = 2;
/** Longest wait for a log to be complete before an exit is told, in milliseconds. */
const LOGGED_MS = 1000;

/** What goes through the shim's sleep. */
export interface ProcessState {
  readonly execId: string;
  readonly streams: Stdio;
  readonly phase: ProcessPhase;
  readonly size: { readonly columns: number; readonly rows: number } | undefined;
  readonly stdinClosed: boolean;
  readonly io: StdioState | undefined;
}

export class Process {
  /** "" for init. */
  readonly execId: string;
  readonly streams: Stdio;
  phase: ProcessPhase;
  io: ProcessStdio | undefined;
  /** Settles when the command that starts it has answered; exits are told only after that. */
  starting: Promise<unknown> | undefined;
  /** What waits for this exec's start. */
  ahead: ExecAhead | undefined;
  readonly #ended = createDeferred<Exit>();
  /** Size asked for before there was a terminal. */
  #size: { columns: number; rows: number } | undefined;
  /** The client said so while the command that starts the process still ran. */
  #stdinClosed = false;

  constructor(execId: string, streams: Stdio, phase: ProcessPhase) {
    this.execId = execId;
    this.streams = streams;
    this.phase = phase;
  }

  /** Its state for the shim's sleep. @throws Awake while something is under way */
  rest(kept: Kept): ProcessState {
    if (this.starting !== undefined || this.ahead?.isOpen === true)
      throw new Awake("process is being started");
    const { stdin, stdout, stderr, terminal } = this.streams;
    return {
      execId: this.execId,
      streams: { stdin, stdout, stderr, terminal },
      phase: this.phase,
      size: this.#size,
      stdinClosed: this.#stdinClosed,
      io: this.io?.rest(kept),
    };
  }

  /** The process of before the sleep. */
  static restored(state: ProcessState, io: ProcessStdio | undefined): Process {
    const made = new Process(state.execId, state.streams, state.phase);
    made.io = io;
    made.#size = state.size;
    made.#stdinClosed = state.stdinClosed;
    return made;
  }

  get pid(): number {
    return pidOf(this.phase);
  }

  get alive(): boolean {
    return isAlive(this.phase);
  }

  /** The exit, when it has ended. */
  get exit(): Exit | undefined {
    return this.phase.tag === "stopped" || this.phase.tag === "deleted" ? this.phase.exit : undefined;
  }

  /** Changes the phase. @throws as {@link transition} */
  apply(event: ProcessEvent): void {
    this.phase = transition(this.phase, event);
    if (event.tag === "exited") {
      const { io } = this;
      this.#ended.resolve(event.exit);
      // those who wait are answered first
      setImmediate(() => io?.exited());
    }
    // A process that never ran ends by being deleted.
    if (event.tag === "deleted" && this.exit !== undefined) this.#ended.resolve(this.exit);
  }

  /** Resolves when it has ended and its exit was announced. */
  wait(): Promise<Exit> {
    return this.exit === undefined ? this.#ended.promise : Promise.resolve(this.exit);
  }

  /** @throws not-found after its end, failed-precondition before its start, invalid-argument (signal) */
  kill(signal: number): void {
    if (this.phase.tag === "added") throw failedPrecondition("process not created");
    if (!this.alive) throw notFound("process already finished");
    try {
      // It is our unreaped child, so the number is still its own.
      const pidfd = pidfdOpen(this.pid);
      try {
        pidfdSendSignal(pidfd, signal);
      } finally {
        close(pidfd);
      }
    } catch (error) {
      if (isErrno(error, "ESRCH")) throw notFound("process already finished", { cause: error });
      if (isErrno(error, "EINVAL")) throw invalidArgument(`signal ${signal}`, { cause: error });
      throw error;
    }
  }

  /** @throws failed-precondition after its end */
  resize(columns: number, rows: number): void {
    if (this.phase.tag === "stopped") throw failedPrecondition("cannot resize a stopped process");
    if (this.io === undefined || this.phase.tag === "added") this.#size = { columns, rows };
    else this.io.resize(columns, rows);
  }

  /** No more input comes from the client; remembered when the streams are not there yet. */
  closeStdin(): void {
    this.#stdinClosed = true;
    this.io?.closeStdin();
  }

  /** Streams and terminal are connected. */
  attached(): void {
    if (this.#stdinClosed) this.io?.closeStdin();
    if (this.#size !== undefined) this.io?.resize(this.#size.columns, this.#size.rows);
  }

  /** After its end: waits, with a bound, until its log is complete, so that whoever learns of the exit can read all of it. */
  async logged(): Promise<void> {
    const { io } = this;
    if (io !== undefined && io.logs.length > 0) await within(io.drained, LOGGED_MS);
  }

  /** Waits until its output is passed on, with a bound, and closes its streams. */
  async closeStreams(): Promise<void> {
    const { io } = this;
    if (io === undefined) return;
    this.io = undefined;
    await within(io.drained, DRAIN_MS);
    await io.close();
    await this.#untilRead();
  }

  /**
   * Gives a client the time to read what the process wrote: Debian's `ctr` opens its FIFOs on threads of their own, and stops them
   * when Delete is answered, whether they have come to read or not. FIFOs that nobody opened cost nothing.
   */
  async #untilRead(): Promise<void> {
    const paths = [this.streams.stdout, this.streams.stderr].map((path) => path.replace(/^fifo:\/\//, ""));
    const late = performance.now() + READ_MS;
    for (const path of paths)
      while (path.startsWith("/") && isBeingRead(path) && performance.now() < late) await sleep(LOOK_MS);
  }
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** The exit of `pid`, a child made after `since`: a remembered exit of an earlier process with that number is not it. */
export async function exitOf(pid: number, since: bigint): Promise<Exit> {
  for (;;) {
    const exit = await waitForExit(pid);
    if (exit.exitedAtNs >= since) return { pid, status: exit.code, exitedAt: exit.exitedAtNs };
  }
}

/** Now, to be compared by {@link exitOf}. */
export const startMark: () => bigint = () => nowNs() - 1_000_000n;
