/**
 * `runc exec` begun when an exec is added. While the client's Start is on its way the runtime loads itself and the state of the
 * container, about a third of its work, and then waits for the process file: a pipe of ours, which Start writes. Nothing was done to
 * the container by then, so that ending the runtime leaves nothing. It opens the pipe in /proc: a shim that is killed takes the file
 * with it, or ends it, and the runtime goes. (A FIFO would be waited for by a runtime that is late.)
 */
import { unlinkSync } from "node:fs";
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { close, pipe2, tryWrite } from "../../src/platform/syscalls/files.ts";
import { canBeEarly, EarlyFifos } from "./early-fifos.ts";
import type { ProcessStdio } from "./opened.ts";
import type { Begun, Runc } from "./runc.ts";

/** A Start that has not come after so long is not on its way, in milliseconds. */
const WAIT_MS = 1000;
/** Specs beyond this do not surely go into a pipe at once, in bytes. */
const MAX_SPEC = 32 << 10;

/** What it is begun with. */
export interface AheadParts {
  readonly runc: Runc;
  readonly id: string;
  readonly streams: Stdio;
  readonly spec: Uint8Array;
  /** Path of files that are its own, without suffix. */
  readonly name: string;
  readonly log: Logger;
}

export class ExecAhead {
  readonly #spec: Uint8Array;
  readonly #pidFile: string;
  readonly #streams: EarlyFifos;
  readonly #begun: Begun;
  readonly #late: NodeJS.Timeout;
  /** The process file; undefined when it has done its work. */
  #pipe: { readonly read: number; readonly write: number } | undefined;
  /** The runtime has ended, or is about to. */
  #over = false;
  #open = true;

  private constructor({ runc, id, streams, spec, name, log }: AheadParts) {
    this.#spec = spec;
    this.#pidFile = `${name}.pid`;
    this.#streams = new EarlyFifos(streams, log);
    try {
      const pipe = pipe2();
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
    this.#late = setTimeout(() => {
      // a client that reads must not see the end of output that has not begun
      void (this.#streams.wereSeen ? this.#end() : this.cancel());
    }, WAIT_MS);
  }

  /** @returns undefined where an exec is better begun by its Start */
  static begin(parts: AheadParts): ExecAhead | undefined {
    const { runc, streams, spec } = parts;
    if (!runc.readsProcessLast || spec.length > MAX_SPEC || !canBeEarly(streams)) return undefined;
    try {
      return new ExecAhead(parts);
    } catch (error) {
      // Start finds out, and says why
      parts.log.debug("begin exec early", { err: error });
      return undefined;
    }
  }

  /** Whether the runtime waits, or streams are held for a start that is late. */
  get isOpen(): boolean {
    return this.#open;
  }

  /**
   * Start has come.
   * @returns its streams and pid; undefined when the runtime has ended already: begin anew, then {@link cancel}
   * @throws what the runtime says
   */
  async go(): Promise<{ readonly io: ProcessStdio; readonly pid: number } | undefined> {
    clearTimeout(this.#late);
    const pipe = this.#pipe;
    if (this.#over || pipe === undefined) {
      await this.#end();
      return undefined;
    }
    const io = await this.#streams.ready().catch(async (error: unknown) => {
      await this.cancel();
      throw error;
    });
    try {
      if (tryWrite(pipe.write, this.#spec) !== this.#spec.length)
        throw new Error("write process file: cut short");
      const pid = await this.#begun.pid;
      io.spawned();
      this.#open = false;
      return { io, pid };
    } catch (error) {
      io.spawned();
      await io.close();
      this.#open = false;
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

  /** Ends the runtime. */
  async #end(): Promise<void> {
    clearTimeout(this.#late);
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
