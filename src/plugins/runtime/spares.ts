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
/** A used spare is replaced after this pause, so that the new one does not compete with the container's own start. */
const REFILL_MS = 150;

/** See the file's comment. */
export class SpareShims {
  readonly #shim: ShimCommand;
  readonly #size: number;
  readonly #log: Logger;
  readonly #waiting: ChildHandle[] = [];
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /** @param size spares kept; 0 starts a process when it is needed */
  constructor(shim: ShimCommand, size: number, log: Logger) {
    this.#shim = shim;
    this.#size = size;
    this.#log = log;
  }

  /** Starts them after the pause: a daemon that begins to answer has better things to do. */
  fillLater(): void {
    if (!this.#stopped) this.#timer ??= setTimeout(() => this.fill(), REFILL_MS);
  }

  /** Starts spares up to the wanted number. */
  fill(): void {
    this.#timer = undefined;
    while (!this.#stopped && this.#waiting.length < this.#size) {
      try {
        const child = this.#spawn();
        this.#waiting.push(child);
        void child.exited.then(() => {
          const at = this.#waiting.indexOf(child);
          if (at >= 0) this.#waiting.splice(at, 1);
        });
      } catch (err) {
        this.#log.warn("start spare shim", { err });
        return;
      }
    }
  }

  /** Turns a spare (or a fresh process) into the shim of `message`. @throws internal with the shim's words */
  async launch(message: ServeMessage): Promise<ServeAnswer> {
    const child = this.#waiting.shift() ?? this.#spawn();
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
    clearTimeout(this.#timer);
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
