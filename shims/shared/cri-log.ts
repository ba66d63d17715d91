/**
 * The log of a container as Kubernetes reads it, written by the shim itself: a daemon that is down, slow or being replaced
 * holds up no container and loses no line.
 */
import { failedPrecondition } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import { sleep } from "../../src/lib/retry.ts";
import { createFdSink, type FdSink } from "../../src/platform/fs/fd-stream.ts";
import { trimMemory } from "../../src/platform/process/memory.ts";
import { O_NONBLOCK, O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { close, open } from "../../src/platform/syscalls/files.ts";
import { touch } from "./activity.ts";
import type { Rotation } from "./log-address.ts";
import { LogFile } from "./log-file.ts";
import { LogLines, releaseBatch } from "./log-lines.ts";
import { Awake, type Kept } from "./rest.ts";

/** Bytes that may be under way to one attached client. */
const ATTACH_BYTES = 1 << 20;
/** A client that takes nothing for this time is cut off: it must not hold up the container. Milliseconds. */
const ATTACH_MS = 1000;

/** After this much output and then quiet for that time, memory is given back: it would stay for the container's life. */
const TRIM_BYTES = 1 << 20;
const QUIET_MS = 1500;

export type StreamName = "stdout" | "stderr";

/** What goes through the shim's sleep. */
export interface CriLogState {
  readonly path: string;
  readonly max: number;
  readonly rotate: Rotation | undefined;
  readonly fd: number;
  /** The unfinished line of each open stream. */
  readonly begun: Readonly<Partial<Record<StreamName, Uint8Array>>>;
}

interface Attached {
  readonly sink: FdSink;
  bytes: number;
  last: Promise<void>;
}

/** One log file with up to two streams. */
export class CriLog {
  readonly #file: LogFile;
  readonly #max: number;
  readonly #attached: Record<StreamName, Set<Attached>> = { stdout: new Set(), stderr: new Set() };
  readonly #open = new Map<StreamName, LogLines>();
  readonly #rotate: Rotation | undefined;
  #bytes = 0;
  #quiet: NodeJS.Timeout | undefined;

  /** @param max longest text of a line, bytes. @throws SyscallError */
  constructor(path: string, max: number, log: Logger, rotate?: Rotation, adopted?: number) {
    this.#file = new LogFile(path, log, rotate, adopted);
    this.#max = max;
    this.#rotate = rotate;
  }

  /** False once its last stream has ended. */
  get isOpen(): boolean {
    return this.#open.size > 0;
  }

  /** Its state for the shim's sleep. @throws Awake while lines wait for the disk, or somebody is attached */
  rest(kept: Kept): CriLogState {
    const attached = Object.values(this.#attached).some((clients) => clients.size > 0);
    const fd = this.#file.restingFd;
    if (fd === undefined || attached) throw new Awake(`log "${this.#file.path}"`);
    const begun = Object.fromEntries([...this.#open].map(([name, lines]) => [name, lines.rest()]));
    return { path: this.#file.path, max: this.#max, rotate: this.#rotate, fd: kept.keep(fd), begun };
  }

  /** Where a stream of the container goes. The file is closed when its last stream is. @param begun an unfinished line */
  stream(name: StreamName, begun?: Uint8Array): FdSink {
    const lines = new LogLines(name, this.#max, begun);
    this.#open.set(name, lines);
    const file = this.#file;
    const write = (bytes: Uint8Array): void => file.write(bytes);
    const clients = this.#attached[name];
    return {
      write: async (chunk) => {
        touch();
        lines.push(chunk, write);
        this.#count(chunk.length);
        if (clients.size > 0) await Promise.all([...clients].map((to) => this.#pass(name, to, chunk)));
        await file.ready();
      },
      close: async (abandon = false) => {
        if (!this.#open.delete(name)) return;
        lines.end(write);
        for (const to of clients) void this.#detach(name, to, abandon);
        if (this.#open.size > 0) return;
        clearInterval(this.#quiet);
        await file.close(abandon ? 0 : undefined);
      },
    };
  }

  /** Closes the file when no stream is open: that of a log that came to nothing. */
  async close(): Promise<void> {
    if (this.#open.size === 0) await this.#file.close(0);
  }

  /** Opens the file anew, now. @throws SyscallError */
  reopen(): void {
    if (this.#open.size > 0) this.#file.reopen();
  }

  /**
   * Also passes what comes from now on into the FIFO at `path`, until the stream ends, the reader goes, or it takes nothing
   * for a second. @throws failed-precondition without a reader
   */
  attach(name: StreamName, path: string): void {
    if (!this.#open.has(name)) throw failedPrecondition(`attach to ${name}: it is not open`);
    let fd: number;
    try {
      fd = open(path, O_WRONLY | O_NONBLOCK);
    } catch (error) {
      if (isErrno(error, "ENXIO")) throw failedPrecondition(`attach to ${name}: nobody reads "${path}"`);
      throw error;
    }
    this.#attached[name].add({ sink: createFdSink(fd), bytes: 0, last: Promise.resolve() });
    close(fd);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#quiet !== undefined || this.#bytes < TRIM_BYTES) return;
    let before = 0;
    this.#quiet = setInterval(() => {
      if (this.#bytes === before) {
        clearInterval(this.#quiet);
        this.#quiet = undefined;
        this.#bytes = 0;
        releaseBatch();
        trimMemory();
      }
      before = this.#bytes;
    }, QUIET_MS);
  }

  async #pass(name: StreamName, to: Attached, chunk: Uint8Array): Promise<void> {
    to.bytes += chunk.length;
    to.last = to.last
      .then(() => to.sink.write(chunk))
      .then(
        () => {
          to.bytes -= chunk.length;
        },
        () => this.#detach(name, to, true),
      );
    if (to.bytes <= ATTACH_BYTES) return;
    const late = await Promise.race([to.last.then(() => false), sleep(ATTACH_MS).then(() => true)]);
    if (late) void this.#detach(name, to, true);
  }

  async #detach(name: StreamName, to: Attached, abandon: boolean): Promise<void> {
    if (!this.#attached[name].delete(to)) return;
    if (!abandon) await Promise.race([to.last, sleep(ATTACH_MS)]);
    await to.sink.close(abandon).catch(() => {});
  }
}
