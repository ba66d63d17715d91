/** The execs of a container: processes that were added to it. */
import { join } from "node:path";
import { alreadyExists, invalidArgument } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import type { Kept } from "../shared/rest.ts";
import { ExecAhead } from "./exec-ahead.ts";
import { Process, type ProcessState } from "./process.ts";
import type { Runc } from "./runc.ts";
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
  spec(execId: string): Uint8Array {
    return this.#specs.get(execId) ?? new Uint8Array();
  }

  /** Path of files in the bundle that no other start had, without suffix. */
  nextFile(): string {
    return join(this.#parts.bundle, `exec-${++this.#count}`);
  }

  /** Begins one that was added, where that can be: see exec-ahead.ts. */
  begin(exec: Process): void {
    const { id, runc, log } = this.#parts;
    const spec = this.spec(exec.execId);
    exec.ahead = ExecAhead.begin({ runc, id, streams: exec.streams, spec, name: this.nextFile(), log });
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
