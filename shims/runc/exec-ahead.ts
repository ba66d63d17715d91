/**
 * `runc exec` begun when an exec is added. While the client's Start is on its way the runtime loads itself and the state of the
 * container, about a third of its work, and then waits for the process file: a pipe of ours, which Start writes. Nothing was done to
 * the container by then, so that ending the runtime leaves nothing. It opens the pipe in /proc: a shim that is killed takes the file
 * with it, or ends it, and the runtime goes. (A FIFO would be waited for by a runtime that is late.)
 *
 * When no Start comes the runtime is ended, and the FIFOs of output stay open for a while: a client that reads must not see the end of
 * output that has not begun. When a Start was lost or failed they are closed at once: clients wait for their end then.
 */
import { unlinkSync } from "node:fs";
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { sleep } from "../../src/lib/retry.ts";
import { O_NONBLOCK } from "../../src/platform/syscalls/constants.ts";
import { SyscallError } from "../../src/platform/syscalls/errors.ts";
import { close, pipe2, tryWrite } from "../../src/platform/syscalls/files.ts";
import { EarlyFifos, type EarlyTargets, earlyTargets } from "./early-fifos.ts";
import type { ProcessStdio } from "./opened.ts";
import type { Begun, Runc } from "./runc.ts";

/** A Start that has not come after so long is not on its way, in milliseconds. */
const WAIT_MS = 1000;
/** A client does not start an exec later than this, in milliseconds. */
const HOLD_MS = 60_000;
/** Specs beyond this do not surely go into a pipe at once, in bytes. */
const MAX_SPEC = 32 << 10;
/** Between two tries to write to a pipe that is full all the same, in milliseconds. */
const RETRY_MS = 1;
const EINTR = 4;
const EAGAIN = 11;

/** What it is begun with. */
export interface AheadParts {
  readonly runc: Pick<Runc, "exec" | "readsProcessLast">;
  readonly id: string;
  readonly streams: Stdio;
  readonly spec: Uint8Array;
  /** Path of files that are its own, without suffix. */
  readonly name: string;
  readonly log: Logger;
}

/** A process that was begun early, as it is known to whoever starts it. */
export interface Started {
  readonly io: ProcessStdio;
  readonly pid: number;
}

export class ExecAhead {
  readonly #spec: Uint8Array;
  readonly #pidFile: string;
  readonly #streams: EarlyFifos;
  readonly #begun: Begun;
  #late: NodeJS.Timeout;
  /** The process file; undefined when it has done its work. */
  #pipe: { readonly read: number; readonly write: number } | undefined;
  /** The runtime has ended, or is about to. */
  #over = false;
  #open = true;

  private constructor({ runc, id, spec, name, log }: AheadParts, targets: EarlyTargets) {
    this.#spec = spec;
    this.#pidFile = `${name}.pid`;
    this.#streams = new EarlyFifos(targets, log);
    try {
      // the runtime opens an end of its own, which waits
      const pipe = pipe2(O_NONBLOCK);
      this.#pipe = pipe;
      const processFile = `/proc/${process.pid}/fd/${pipe.read}`;
      this.#begun = runc.exec(id, processFile, { fds: this.#streams.fds, pidFile: this.#pidFile });
    } catch (error) {
      // no such runtime, or no file left to be opened: nothing stays open
      this.#remove();
      void this.#streams.close();
      throw error;
    }
    this.#begun.pid.then(
      () => {},
      () => {
        this.#over = true;
      },
    );
    this.#late = setTimeout(() => void this.#tooLate(), WAIT_MS);
  }

  /** @returns undefined where an exec is better begun by its Start */
  static begin(parts: AheadParts): ExecAhead | undefined {
    const { runc, streams, spec } = parts;
    if (!runc.readsProcessLast || spec.length > MAX_SPEC) return undefined;
    try {
      const targets = earlyTargets(streams);
      return targets === undefined ? undefined : new ExecAhead(parts, targets);
    } catch (error) {
      // Start finds out, and says why
      parts.log.debug("begin exec early", { err: error });
      return undefined;
    }
  }

  /** Whether a runtime waits, or streams are held for a start that is late. */
  get isOpen(): boolean {
    return this.#open;
  }

  /**
   * Start has come.
   * @returns its streams and pid; undefined when nothing waits: begin anew, then {@link cancel}
   * @throws what the runtime says, with nothing left
   */
  async go(): Promise<Started | undefined> {
    clearTimeout(this.#late);
    const pipe = this.#pipe;
    if (this.#over || pipe === undefined) {
      await this.#end();
      return undefined;
    }
    try {
      const io = await this.#streams.ready();
      await this.#give(pipe.write);
      const pid = await this.#begun.pid;
      io.spawned();
      this.#open = false;
      return { io, pid };
    } catch (error) {
      await this.cancel();
      throw error;
    } finally {
      // the answer goes first
      setImmediate(() => this.#remove());
    }
  }

  /** Ends what was begun. Resolves when nothing is left of it. */
  async cancel(): Promise<void> {
    if (!this.#open) return;
    await this.#end();
    await this.#streams.close();
    this.#open = false;
  }

  async #tooLate(): Promise<void> {
    if (!this.#streams.wereSeen) return await this.cancel();
    this.#late = setTimeout(() => void this.cancel(), HOLD_MS);
    await this.#endRuntime();
  }

  /** Writes the process file, at the pace of the runtime where the pipe is a small one (pipe(7), pipe-user-pages-soft). */
  async #give(fd: number): Promise<void> {
    for (let at = 0; at < this.#spec.length && !this.#over; ) {
      const length = tryWrite(fd, this.#spec.subarray(at));
      if (length >= 0) at += length;
      else if (length === -EAGAIN) await sleep(RETRY_MS);
      else if (length !== -EINTR) throw new SyscallError("write process file", -length);
    }
  }

  async #end(): Promise<void> {
    clearTimeout(this.#late);
    await this.#endRuntime();
  }

  async #endRuntime(): Promise<void> {
    this.#over = true;
    if (this.#pipe !== undefined) this.#begun.kill();
    this.#remove();
    await this.#begun.pid.catch(() => {});
  }

  #remove(): void {
    if (this.#pipe !== undefined) for (const fd of [this.#pipe.read, this.#pipe.write]) close(fd);
    this.#pipe = undefined;
    try {
      unlinkSync(this.#pidFile);
    } catch {
      // the runtime did not get that far, or the whole bundle is gone
    }
  }
}
