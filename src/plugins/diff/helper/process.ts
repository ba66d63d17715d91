/** The daemon's side of a `gantry unpack` helper. */
import { Buffer } from "node:buffer";
import { abortError } from "../../../core/call.ts";
import { internal } from "../../../core/errors.ts";
import {
  type CompareInstruction,
  type FinishInstruction,
  FRAME,
  frameHeader,
  type UnpackInstruction,
  type UnpackReport,
} from "./protocol.ts";
import { ReportReader, reportedError } from "./report-reader.ts";
import { forLayer, giveLayer, type HelperChild, keep, rest, startOnce } from "./start.ts";

const SIGKILL = 9;
/** Most of a helper's stderr that is kept for an error message. */
const STDERR = 4096;

/** What ends a wait for a report. */
interface Waiter {
  resolve(report: UnpackReport): void;
  reject(err: unknown): void;
}

/**
 * One helper: frames in, reports out. Any failure (an error report, its death, the signal) fails everything that waits
 * and kills it; it never outlives {@link close}.
 */
export class HelperProcess {
  readonly #child: HelperChild;
  readonly #onProgress: (bytes: bigint) => void;
  readonly #signal: AbortSignal;
  readonly #onAbort = (): void => {
    this.#fail(abortError(this.#signal));
  };
  readonly #onData = (data: Buffer): void => this.#read(data);
  readonly #onStderr = (data: Buffer): void => {
    if (this.#stderr.length < STDERR) this.#stderr += data.toString("utf8");
  };
  readonly #reader = new ReportReader();
  readonly #waiters: Waiter[] = [];
  readonly #reports: UnpackReport[] = [];
  readonly #exited: Promise<void>;
  #error: unknown;
  /** Ends the wait of a sender. */
  #wake: (() => void) | undefined;
  #stderr = "";
  #done = false;
  #dismissed = false;

  /**
   * Starts a helper for a layer, or goes on with one that waits for its next.
   * @param signal kills it
   */
  static async apply(
    instruction: UnpackInstruction,
    signal: AbortSignal,
    onProgress?: (bytes: bigint) => void,
    small = false,
  ): Promise<HelperProcess> {
    const helper = new HelperProcess(await forLayer(small), signal, onProgress);
    if (!signal.aborted) giveLayer(helper.#child, instruction);
    return helper;
  }

  /** Starts a helper that makes a layer. */
  static compare(instruction: CompareInstruction, signal: AbortSignal): HelperProcess {
    return new HelperProcess(startOnce(instruction), signal);
  }

  private constructor(
    child: HelperChild,
    signal: AbortSignal,
    onProgress: (bytes: bigint) => void = () => {},
  ) {
    this.#signal = signal;
    this.#onProgress = onProgress;
    this.#child = child;
    child.stdout?.on("data", this.#onData);
    child.stderr?.on("data", this.#onStderr);
    this.#exited = this.#watch(child);
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Resolves when the helper is gone and all it said was read. */
  async #watch(child: HelperChild): Promise<void> {
    void child.exited.then(() => {
      this.#done = true;
    });
    const { code, signal } = await child.gone;
    const said = this.#stderr === "" ? "" : `: ${this.#stderr.trim()}`;
    this.#fail(internal(`helper ended early (${signal ?? `exit code ${code}`})${said}`));
  }

  /** Gives data; resolves when more may be given. */
  async data(bytes: Uint8Array): Promise<void> {
    await this.#send(frameHeader(FRAME.data, bytes.length), bytes);
  }

  /** Tells the end of the data. */
  async end(): Promise<void> {
    await this.#send(frameHeader(FRAME.end, 0));
  }

  /** Sends the finish instruction. */
  async finish(order: FinishInstruction): Promise<void> {
    const payload = Buffer.from(JSON.stringify(order), "utf8");
    await this.#send(frameHeader(FRAME.finish, payload.length), payload);
  }

  /** The next report of `type`. @throws what the helper reported instead */
  async expect<T extends UnpackReport["type"]>(type: T): Promise<Extract<UnpackReport, { type: T }>> {
    const report = await this.#next();
    if (report.type !== type)
      throw this.#fail(internal(`helper reported "${report.type}" instead of "${type}"`));
    return report as Extract<UnpackReport, { type: T }>;
  }

  /** It has written its files: until it is told to finish, another layer may use its core. */
  rest(): void {
    rest(this.#child);
  }

  /** Kills the helper when it still runs, and waits for its end. */
  async close(): Promise<void> {
    if (this.#dismissed) return;
    this.#signal.removeEventListener("abort", this.#onAbort);
    if (!this.#done) {
      this.#error ??= internal("helper closed");
      this.#child.kill(SIGKILL);
    }
    await this.#exited;
  }

  /** Lets a helper go that has done its work: the next layer may have it when it takes one. */
  dismiss(again: boolean): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    const clean = this.#error === undefined && this.#reader.atBoundary && this.#reports.length === 0;
    this.#error ??= internal("helper closed");
    this.#dismissed = true;
    if (this.#done) return;
    this.#child.stdout?.off("data", this.#onData);
    this.#child.stderr?.off("data", this.#onStderr);
    if (again && clean && this.#stderr === "") keep(this.#child);
    else this.#child.kill(SIGKILL);
  }

  /** Waits for a helper that has nothing more to do. */
  async ended(): Promise<void> {
    this.#child.stdin?.end();
    await this.#exited;
    this.#signal.removeEventListener("abort", this.#onAbort);
  }

  async #send(...parts: Uint8Array[]): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    const { stdin } = this.#child;
    if (stdin === undefined) throw internal("helper has no stdin");
    let room = true;
    for (const part of parts) room = stdin.write(part);
    if (room) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        stdin.off("drain", go);
        stdin.off("close", go);
        this.#wake = undefined;
        resolve();
      };
      stdin.on("drain", go);
      stdin.on("close", go);
      // the stream of a helper that died may tell nothing
      this.#wake = go;
      if (this.#done || this.#error !== undefined) go();
    });
    if (this.#error !== undefined) throw this.#error;
  }

  #next(): Promise<UnpackReport> {
    const ready = this.#reports.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#error !== undefined) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  #read(data: Buffer): void {
    try {
      for (const report of this.#reader.push(data)) this.#report(report);
    } catch (err) {
      this.#fail(err);
    }
  }

  #report(report: UnpackReport): void {
    if (report.type === "progress") this.#onProgress(BigInt(report.bytes));
    else if (report.type === "error") this.#fail(reportedError(report));
    else {
      const waiter = this.#waiters.shift();
      if (waiter === undefined) this.#reports.push(report);
      else waiter.resolve(report);
    }
  }

  /** Remembers the first failure, kills the helper, and tells those who wait. */
  #fail(err: unknown): unknown {
    this.#error ??= err;
    this.#wake?.();
    if (this.#dismissed) return this.#error; // another layer's now
    if (!this.#done) this.#child.kill(SIGKILL);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#error);
    return this.#error;
  }
}
