/** The open files of one process's streams, and what is copied between them. */
import type { Logger } from "../../src/core/log.ts";
import { createFdSink, type FdSink } from "../../src/platform/fs/fd-stream.ts";
import { copyFd } from "../../src/platform/fs/fifo.ts";
import { close } from "../../src/platform/syscalls/files.ts";
import type { CriLog, CriLogState, StreamName } from "../shared/cri-log.ts";
import { Awake, type Kept } from "../shared/rest.ts";
import type { LoggerProcess } from "./logger.ts";

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
  /** State for the shim's sleep. @throws Awake while something is under way */
  rest(kept: Kept): StdioState;
}

/** Where copied output goes: an fd of ours, or a stream of one of our logs. */
export type SinkState = { readonly fd: number } | { readonly log: string; readonly name: StreamName };

/** What goes through the shim's sleep. */
export interface StdioState {
  /** All that is open, not counting terminal and logs. */
  readonly fds: readonly number[];
  readonly copies: readonly { readonly from: number; readonly to: SinkState }[];
  /** Copies to the process's stdin. */
  readonly inputs: readonly { readonly from: number; readonly to: number }[];
  readonly logs: readonly CriLogState[];
  /** Pid of the logger, 0 when it has ended. */
  readonly logger: number | undefined;
  /** Our writer to stdin. */
  readonly input: number | undefined;
  /** FIFOs of output that we hold open for clients that come and go. */
  readonly keepers: readonly number[];
  readonly terminal?: {
    readonly master: number;
    /** What the client types is still copied. */
    readonly input: boolean;
    readonly output: SinkState | undefined;
    readonly reader: number | undefined;
    readonly keeper: number | undefined;
  };
}

/** What is open, each to be closed exactly once. */
export class Opened {
  readonly log: Logger;
  readonly child = new Set<number>();
  readonly ours = new Set<number>();
  readonly copies: Promise<unknown>[] = [];
  readonly stop = new AbortController();
  readonly logs = new Map<string, CriLog>();
  /** Unfinished lines of logs from before a sleep. */
  readonly begun = new Map<string, CriLogState["begun"]>();
  logger: LoggerProcess | undefined;
  readonly #running = new Map<number, SinkState>();
  readonly #inputs = new Map<number, { readonly to: number; readonly ended: Promise<void> }>();
  readonly #stopInput = new AbortController();
  #writing = 0;

  constructor(log: Logger) {
    this.log = log;
  }

  get drained(): Promise<void> {
    return Promise.all(this.copies).then(() => {});
  }

  /** A sink that counts what is under way. Closing it also closes the fd it was made of. */
  sink(to: SinkState): FdSink {
    const inner = this.#sinkOf(to);
    return {
      write: async (chunk) => {
        this.#writing++;
        try {
          await inner.write(chunk);
        } finally {
          this.#writing--;
        }
      },
      close: async (abandon) => {
        if ("fd" in to) this.drop(to.fd);
        await inner.close(abandon);
      },
    };
  }
  #sinkOf(to: SinkState): FdSink {
    // The sink works on its own duplicate.
    if ("fd" in to) return createFdSink(to.fd);
    const log = this.logs.get(to.log);
    if (log === undefined) throw new Error(`write log "${to.log}": not open`);
    return log.stream(to.name, this.begun.get(to.log)?.[to.name]);
  }
  forChild(fd: number): number {
    this.child.add(fd);
    return fd;
  }
  keep(fd: number): number {
    this.ours.add(fd);
    return fd;
  }
  /** The same fd while it is open and ours. */
  has(fd: number): number;
  has(fd: number | undefined): number | undefined;
  has(fd: number | undefined): number | undefined {
    return fd !== undefined && this.ours.has(fd) ? fd : undefined;
  }
  drop(fd: number | undefined): void {
    if (fd !== undefined && this.ours.delete(fd)) close(fd);
  }
  spawned(): void {
    for (const fd of this.child) close(fd);
    this.child.clear();
    this.logger?.spawned();
  }
  copy(from: number, to: SinkState): void {
    const sink = this.sink(to);
    this.#running.set(from, to);
    const done = copyFd(from, [sink], { signal: this.stop.signal })
      .catch((error: unknown) => this.log.warn("copy stream", { err: error }))
      .finally(() => sink.close(this.stop.signal.aborted).catch(() => {}))
      .finally(() => {
        this.#running.delete(from);
        this.drop(from);
      });
    this.copies.push(done);
  }
  /** Copies a client's input, until {@link stopInput}: nobody waits for its end. */
  copyIn(from: number, to: number): void {
    const sink = this.sink({ fd: to });
    const ended = copyFd(from, [sink], { signal: this.#stopInput.signal })
      .then(() => {})
      .catch((error: unknown) => this.log.warn("copy stdin", { err: error }))
      .finally(() => sink.close(true).catch(() => {}))
      .finally(() => {
        this.#inputs.delete(from);
        this.drop(from);
      });
    this.#inputs.set(from, { to, ended });
  }
  stopInput(): void {
    this.#stopInput.abort();
  }
  /** @throws Awake while something is being written */
  rest(kept: Kept): Pick<StdioState, "fds" | "copies" | "inputs" | "logs" | "logger"> {
    if (this.child.size > 0 || this.#writing > 0 || this.stop.signal.aborted) throw new Awake("streams");
    for (const fd of this.ours) kept.keep(fd);
    return {
      fds: [...this.ours],
      copies: [...this.#running].map(([from, to]) => ({ from: kept.watch(from), to })),
      inputs: [...this.#inputs].map(([from, { to }]) => ({ from: kept.watch(from), to })),
      logs: [...this.logs.values()].filter((log) => log.isOpen).map((log) => log.rest(kept)),
      logger: this.logger?.pid,
    };
  }
  async closeAll(): Promise<void> {
    for (const fd of this.child) close(fd);
    this.child.clear();
    this.stop.abort();
    this.#stopInput.abort();
    await Promise.all([...this.copies, ...[...this.#inputs.values()].map(({ ended }) => ended)]);
    for (const fd of this.ours) close(fd);
    this.ours.clear();
    await Promise.all([...this.logs.values()].map((log) => log.close()));
    await this.logger?.close();
    this.logger = undefined;
  }
}
