/** The execs of a container: processes that were added to it. */
import { unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { alreadyExists, invalidArgument } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import type { Kept } from "../shared/rest.ts";
import { ExecAhead } from "./exec-ahead.ts";
import { Process, type ProcessState } from "./process.ts";
import type { Runc, RunIo } from "./runc.ts";
import { withTerminal } from "./spec.ts";

/** Longest wait for execs to be reaped before init's exit is told, in milliseconds. */
const ENDED_MS = 10_000;

/** What goes through the shim's sleep. */
export interface ExecsState {
  readonly processes: readonly ProcessState[];
  readonly specs: ReadonlyMap<string, Uint8Array>;
  readonly count: number;
}

/** What execs are begun with. */
export interface ExecParts {
  readonly id: string;
  readonly bundle: string;
  readonly runc: Runc;
  readonly log: Logger;
}

export class Execs {
  readonly #parts: ExecParts;
  readonly #processes = new Map<string, Process>();
  readonly #specs = new Map<string, Uint8Array>();
  #count = 0;

  constructor(parts: ExecParts) {
    this.#parts = parts;
  }

  /** Its state for the shim's sleep. @throws Awake while something is under way */
  rest(kept: Kept): ExecsState {
    return {
      processes: [...this.#processes.values()].map((exec) => exec.rest(kept)),
      specs: new Map([...this.#specs].map(([id, spec]) => [id, new Uint8Array(spec)])),
      count: this.#count,
    };
  }

  /** Goes on from before the sleep. */
  restore(state: ExecsState, processes: readonly Process[]): void {
    this.#count = state.count;
    for (const [id, spec] of state.specs) this.#specs.set(id, spec);
    for (const exec of processes) this.#processes.set(exec.execId, exec);
  }

  /** @throws already-exists, invalid-argument */
  assertNew(execId: string): void {
    if (execId === "") throw invalidArgument("exec id must not be empty");
    if (this.#processes.has(execId)) throw alreadyExists(`id ${execId}`);
  }

  /** @param spec OCI process as JSON */
  add(execId: string, streams: Stdio, spec: Uint8Array): void {
    this.#specs.set(execId, withTerminal(spec, streams.terminal));
    this.#processes.set(execId, new Process(execId, streams, { tag: "added" }));
  }

  get(execId: string): Process | undefined {
    return this.#processes.get(execId);
  }

  /** What it was added with. */
  #spec(execId: string): Uint8Array {
    return this.#specs.get(execId) ?? new Uint8Array();
  }

  /** Path of files in the bundle that no other start had, without suffix. */
  #nextFile(): string {
    return join(this.#parts.bundle, `exec-${++this.#count}`);
  }

  /** Begins one that was added, where that can be: see exec-ahead.ts. */
  begin(exec: Process): void {
    const { id, runc, log } = this.#parts;
    const spec = this.#spec(exec.execId);
    exec.ahead = ExecAhead.begin({ runc, id, streams: exec.streams, spec, name: this.#nextFile(), log });
  }

  /**
   * Runs one that was added, or lets the one that was begun go on.
   * @param launch runs a command that makes the process, with its streams
   * @returns pid. @throws what the runtime or the streams say
   */
  async start(
    exec: Process,
    launch: (pidFile: string, command: (io: RunIo) => Promise<number>) => Promise<number>,
  ): Promise<number> {
    const { ahead } = exec;
    exec.ahead = undefined;
    const begun = await ahead?.go();
    if (begun !== undefined) {
      exec.io = begun.io;
      exec.attached();
      return begun.pid;
    }
    const { id, runc } = this.#parts;
    const name = this.#nextFile();
    const [processFile, pidFile] = [`${name}.json`, `${name}.pid`];
    try {
      writeFileSync(processFile, this.#spec(exec.execId), { mode: 0o600 });
      return await launch(pidFile, (io) => runc.exec(id, processFile, io).pid);
    } finally {
      await ahead?.cancel();
      // the answer goes first
      setImmediate(() => {
        remove(processFile);
        remove(pidFile);
      });
    }
  }

  /** Ends what was begun and waits for its start. */
  async giveUp(): Promise<void> {
    await Promise.all(this.all.map((exec) => exec.ahead?.cancel()));
  }

  remove(execId: string): void {
    this.#processes.delete(execId);
    this.#specs.delete(execId);
  }

  get all(): readonly Process[] {
    return [...this.#processes.values()];
  }

  get alive(): readonly Process[] {
    return this.all.filter((exec) => exec.alive);
  }

  /** Resolves when none runs or is being started, with a bound. */
  async ended(): Promise<void> {
    const running = this.all.filter((exec) => exec.alive || exec.starting !== undefined);
    if (running.length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const ended = running.map(async (exec) => {
      await exec.starting;
      if (exec.alive) await exec.wait();
    });
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ENDED_MS);
    });
    await Promise.race([Promise.all(ended), late]);
    clearTimeout(timer);
  }
}

/** Removes a file that the runtime may not have made. */
function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // with the whole bundle, perhaps
  }
}
