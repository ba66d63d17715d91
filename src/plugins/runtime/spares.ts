/**
 * Warm spare shims: server processes of our own shim that are started already and wait for the line that tells them what to
 * serve. Handing that line over replaces two program starts per container. When the daemon dies their stdin ends, and they
 * with it.
 */

import {
  parseServeAnswer,
  type ServeAnswer,
  type ServeMessage,
} from "../../../shims/shared/serve-message.ts";
import { TITLE_ROOM } from "../../../shims/shared/title.ts";
import { internal, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { smallProcessEnv } from "../../platform/process/memory.ts";
import { type ChildHandle, spawnProcess } from "../../platform/process/spawn.ts";
import type { ShimCommand } from "./resolve.ts";

/** Longest time a spare may take to answer. Milliseconds. */
const ANSWER_MS = 10_000;
/** Most spares after a burst: each has some 4 MB of memory. */
const MOST = 10;

/** When spares are started and ended. Milliseconds. */
export interface SparePauses {
  /** A used spare is replaced after so long, so that the new one does not compete with the container's own start. */
  readonly refillMs: number;
  /** What a burst lacked is made for the next one when no container was started for so long ... */
  readonly calmMs: number;
  /** ... one after the other. */
  readonly betweenMs: number;
  /** So long they wait for another burst. */
  readonly keepMs: number;
}

const PAUSES: SparePauses = { refillMs: 150, calmMs: 400, betweenMs: 50, keepMs: 30_000 };

/** See the file's comment. */
export class SpareShims {
  readonly #shim: ShimCommand;
  readonly #size: number;
  readonly #log: Logger;
  readonly #pauses: SparePauses;
  readonly #waiting: ChildHandle[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Spares to have: more than the wanted number for a while after a burst that needed more. */
  #goal: number;
  #more: NodeJS.Timeout | undefined;
  #fewer: NodeJS.Timeout | undefined;
  #stopped = false;

  /** @param size spares kept; 0 starts a process when it is needed */
  constructor(shim: ShimCommand, size: number, log: Logger, pauses: SparePauses = PAUSES) {
    this.#shim = shim;
    this.#size = size;
    this.#goal = size;
    this.#log = log;
    this.#pauses = pauses;
  }

  /** Starts them after the pause: a daemon that begins to answer has better things to do. */
  fillLater(): void {
    if (!this.#stopped) this.#timer ??= setTimeout(() => this.fill(), this.#pauses.refillMs);
  }

  /** Starts spares up to the wanted number. */
  fill(): void {
    this.#timer = undefined;
    while (this.#waiting.length < this.#size && this.#add());
  }

  /** @returns false when it cannot be */
  #add(): boolean {
    if (this.#stopped) return false;
    try {
      const child = this.#spawn();
      this.#waiting.push(child);
      void child.exited.then(() => {
        const at = this.#waiting.indexOf(child);
        if (at >= 0) this.#waiting.splice(at, 1);
      });
      return true;
    } catch (err) {
      this.#log.warn("start spare shim", { err });
      return false;
    }
  }

  /** A container starts: what follows it soon belongs to the same burst. @param lacked there was no spare for it */
  #used(lacked: boolean): void {
    if (this.#stopped || this.#size === 0) return;
    if (lacked) this.#goal = Math.min(this.#goal + 1, Math.max(this.#size, MOST));
    if (this.#goal === this.#size) return;
    clearTimeout(this.#more);
    this.#more = setTimeout(() => this.#fillMore(), this.#pauses.calmMs);
    clearTimeout(this.#fewer);
    this.#fewer = setTimeout(() => this.#rest(), this.#pauses.keepMs);
  }

  #fillMore(): void {
    if (this.#waiting.length < this.#goal && this.#add())
      this.#more = setTimeout(() => this.#fillMore(), this.#pauses.betweenMs);
  }

  #rest(): void {
    this.#goal = this.#size;
    clearTimeout(this.#more);
    for (const child of this.#waiting.splice(this.#size)) child.stdin?.end();
  }

  /** Turns a spare (or a fresh process) into the shim of `message`. @throws internal with the shim's words */
  async launch(message: ServeMessage): Promise<ServeAnswer> {
    const spare = this.#waiting.shift();
    this.#used(spare === undefined);
    const child = spare ?? this.#spawn();
    this.fillLater();
    const answer = readLine(child);
    child.stdin?.on("error", () => {});
    child.stdin?.end(`${JSON.stringify(message)}\n`);
    try {
      const result = parseServeAnswer(await answer);
      if (result.status === "error") throw internal(`start shim: ${result.message}`);
      return result;
    } catch (err) {
      child.kill(9);
      throw err;
    } finally {
      child.unref();
      child.stdout?.destroy();
    }
  }

  /** Ends the spares; shims in use stay. */
  stop(): void {
    this.#stopped = true;
    for (const timer of [this.#timer, this.#more, this.#fewer]) clearTimeout(timer);
    for (const child of this.#waiting.splice(0)) child.stdin?.end();
  }

  #spawn(): ChildHandle {
    const { command, prefix, argv0 } = this.#shim;
    const env = {
      ...process.env,
      ...smallProcessEnv,
      NOTIFY_SOCKET: undefined,
      WATCHDOG_USEC: undefined,
      WATCHDOG_PID: undefined,
    };
    return spawnProcess(command, [...prefix, "serve", TITLE_ROOM], {
      stdio: ["pipe", "pipe", "ignore"],
      detached: true,
      cwd: "/",
      env,
      ...(argv0 === undefined ? {} : { argv0 }),
    });
  }
}

/** The first line of a child's output. */
async function readLine(child: ChildHandle): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(internal(`start shim: no answer in ${ANSWER_MS} ms`)), ANSWER_MS);
  });
  const line = async (): Promise<string> => {
    let text = "";
    for await (const chunk of child.stdout ?? []) {
      text += String(chunk);
      if (text.includes("\n")) return text;
    }
    throw internal("start shim: it ended without an answer");
  };
  try {
    return await Promise.race([line(), late]);
  } catch (err) {
    throw internal(messageOf(err), { cause: err });
  } finally {
    clearTimeout(timer);
  }
}
