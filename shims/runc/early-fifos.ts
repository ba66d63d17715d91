/**
 * Streams of a process that is made before its client says Start: FIFOs and nothing else.
 *
 * The FIFO of stdin is not opened before Start: `ctr` and others learn how to close stdin between Exec and Start, and one whose
 * FIFO has a reader by then may come to the end of its input too early, and never close it. The process gets a pipe, and what
 * comes is copied. FIFOs of output stay open from then on: a client that saw a writer come and go would take that for the end.
 */
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { openFifo } from "../../src/platform/fs/fifo.ts";
import { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { close, open, pipe2 } from "../../src/platform/syscalls/files.ts";
import { Opened, type ProcessStdio } from "./opened.ts";
import { parseStream, plainStdio, type Target, writersWhenRead } from "./stdio.ts";

/** A stream that can be opened early. */
type EarlyTarget = Extract<Target, { readonly kind: "null" | "fifo" }>;

/** stdin, stdout and stderr. */
export type EarlyTargets = readonly [EarlyTarget, EarlyTarget, EarlyTarget];

/** Where streams lead. @returns undefined for a terminal, files and programs to start: those cannot be opened early */
export function earlyTargets(streams: Stdio): EarlyTargets | undefined {
  if (streams.terminal) return undefined;
  const [stdin, stdout, stderr] = [streams.stdin, streams.stdout, streams.stderr].map(earlyTarget);
  return stdin && stdout && stderr && [stdin, stdout, stderr];
}

function earlyTarget(stream: string): EarlyTarget | undefined {
  const target = parseStream(stream);
  return target.kind === "null" || target.kind === "fifo" ? target : undefined;
}

export class EarlyFifos {
  /** For the process, as in {@link ProcessStdio}. */
  readonly fds: readonly [number, number, number];
  readonly #opened: Opened;
  readonly #outputs: readonly [EarlyTarget, EarlyTarget];
  /** Where stdin comes from, and our end of the process's pipe. */
  readonly #input: { readonly path: string; readonly write: number } | undefined;

  /** Waits for nobody. @param targets of {@link earlyTargets}. @throws SyscallError, with nothing open */
  constructor([stdin, ...outputs]: EarlyTargets, log: Logger) {
    const opened = new Opened(log);
    this.#opened = opened;
    this.#outputs = outputs;
    const nothing = (): number => opened.forChild(open("/dev/null", O_RDWR));
    const output = (target: EarlyTarget): number => {
      if (target.kind !== "fifo") return nothing();
      // a FIFO opens for writing while somebody reads it, be it us; after that a reader of ours would hide that there is no other
      const reader = openFifo(target.path);
      try {
        return opened.forChild(open(target.path, O_WRONLY));
      } finally {
        close(reader);
      }
    };
    try {
      let inFd: number;
      if (stdin.kind === "fifo") {
        const ends = pipe2();
        inFd = opened.forChild(ends.read);
        this.#input = { path: stdin.path, write: opened.keep(ends.write) };
      } else inFd = nothing();
      this.fds = [inFd, output(outputs[0]), output(outputs[1])];
    } catch (error) {
      void opened.closeAll();
      throw error;
    }
  }

  /** Whether a client may have seen them open. */
  get wereSeen(): boolean {
    return this.#outputs.some(({ kind }) => kind === "fifo");
  }

  /** The streams as of a process that is started now: waits, with a bound, for their readers. */
  async ready(): Promise<ProcessStdio> {
    await writersWhenRead(this.#outputs, this.#opened);
    const keepers: number[] = [];
    for (const target of this.#outputs)
      if (target.kind === "fifo") keepers.push(this.#opened.keep(openFifo(target.path)));
    let keeper: number | undefined;
    if (this.#input !== undefined) {
      const { path, write } = this.#input;
      keeper = this.#opened.keep(openFifo(path));
      this.#opened.copyIn(this.#opened.keep(open(path, O_RDONLY | O_NONBLOCK)), write);
    }
    return plainStdio(this.#opened, this.fds, keeper, keepers);
  }

  /** Ends what was never used. */
  async close(): Promise<void> {
    await this.#opened.closeAll();
  }
}
