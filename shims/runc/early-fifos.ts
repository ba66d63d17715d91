/** Streams of a process that is made before its client has come to read: FIFOs and nothing else. */
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { openFifo } from "../../src/platform/fs/fifo.ts";
import { O_RDONLY, O_RDWR, O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { close, open } from "../../src/platform/syscalls/files.ts";
import { Opened, type ProcessStdio } from "./opened.ts";
import { parseStream, plainStdio, type Target, writersWhenRead } from "./stdio.ts";

/** Whether these streams can be opened early: no terminal, no files, no programs to start. */
export function canBeEarly(streams: Stdio): boolean {
  const all = [streams.stdin, streams.stdout, streams.stderr].map(parseStream);
  return !streams.terminal && all.every(({ kind }) => kind === "null" || kind === "fifo");
}

export class EarlyFifos {
  /** For the process, as in {@link ProcessStdio}. */
  readonly fds: readonly [number, number, number];
  readonly #opened: Opened;
  readonly #outputs: readonly Target[];
  readonly #input: number | undefined;

  /** Waits for nobody. @param streams as {@link canBeEarly} wants them. @throws SyscallError, with nothing open */
  constructor(streams: Stdio, log: Logger) {
    const opened = new Opened(log);
    this.#opened = opened;
    this.#outputs = [parseStream(streams.stdout), parseStream(streams.stderr)];
    const stdin = parseStream(streams.stdin);
    const nothing = (): number => opened.forChild(open("/dev/null", O_RDWR));
    const output = (target: Target | undefined): number => {
      if (target?.kind !== "fifo") return nothing();
      // a FIFO opens for writing while somebody reads it, be it us; after that a reader of ours would hide that there is no other
      const reader = openFifo(target.path);
      try {
        return opened.forChild(open(target.path, O_WRONLY));
      } finally {
        close(reader);
      }
    };
    try {
      this.#input = stdin.kind === "fifo" ? opened.keep(openFifo(stdin.path)) : undefined;
      const inFd = stdin.kind === "fifo" ? opened.forChild(open(stdin.path, O_RDONLY)) : nothing();
      this.fds = [inFd, output(this.#outputs[0]), output(this.#outputs[1])];
    } catch (error) {
      void opened.closeAll();
      throw error;
    }
  }

  /** The streams as of a process that is started now: waits, with a bound, for their readers. */
  async ready(): Promise<ProcessStdio> {
    await writersWhenRead(this.#outputs, this.#opened);
    const keepers: number[] = [];
    for (const target of this.#outputs)
      if (target.kind === "fifo") keepers.push(this.#opened.keep(openFifo(target.path)));
    return plainStdio(this.#opened, this.fds, this.#input, keepers);
  }

  /** Ends what was never used. */
  async close(): Promise<void> {
    await this.#opened.closeAll();
  }
}
