/**
 * Names of pods and containers while and after they are made. A name stands for one object. A creation goes on when its
 * caller gave up, and the identical request that the caller repeats gets the running or finished creation (R4, F11); when the
 * work fails its name is free at once.
 */
import type { Call } from "../../core/call.ts";
import { abortError } from "../../core/call.ts";
import { deadlineExceeded, failedPrecondition, type GantryError } from "../../core/errors.ts";
import type { Span } from "../../core/tracing/span.ts";

/**
 * A caller whose deadline is nearer than this when the work is done may not hear of it any more: an answer and a cancellation
 * can pass each other on the way. Milliseconds.
 */
const LATE_MS = 500;

/** Where a creation is, for errors of callers that waited too long. */
export interface Progress {
  /** Words for what is being done now, such as `cni add "bridge"`. */
  step: string;
  /** Trace of the caller that began it. */
  readonly span?: Span | undefined;
}

interface Creation {
  readonly request: string;
  readonly progress: Progress;
  readonly startedAt: number;
  /** Id of the object that it makes. */
  readonly id: string;
  readonly done: Promise<string>;
  /** Calls that wait for it. */
  readonly waiting: Set<Call>;
}

/** See the file's comment. */
export class Creations {
  readonly #what: string;
  readonly #names = new Map<string, string>();
  readonly #running = new Map<string, Creation>();
  /** Made, but nobody was there to be told; by name. */
  readonly #untold = new Map<string, { request: string; id: string }>();

  /** @param what `sandbox` or `container`, for errors */
  constructor(what: string) {
    this.#what = what;
  }

  /** Takes a name for an object of an earlier life. False when another one has it. */
  take(name: string, id: string): boolean {
    const owner = this.#names.get(name);
    if (owner !== undefined && owner !== id) return false;
    this.#names.set(name, id);
    return true;
  }

  /** The object is gone. */
  release(name: string, id: string): void {
    if (this.#names.get(name) === id) this.#names.delete(name);
    if (this.#untold.get(name)?.id === id) this.#untold.delete(name);
  }

  /**
   * Makes the object, or joins its making.
   * @param request fingerprint of the whole request: only the identical one joins
   * @param work goes on whatever happens to `call`
   * @returns the id
   * @throws failed-precondition when the name is another one's; what `work` threw; deadline-exceeded naming the step
   */
  async run(
    call: Call,
    name: string,
    request: string,
    id: string,
    work: (progress: Progress) => Promise<void>,
  ): Promise<string> {
    const running = this.#running.get(name);
    if (running !== undefined) {
      if (running.request !== request) throw this.#reserved(name, running.id);
      return await this.#wait(call, name, running);
    }
    const untold = this.#untold.get(name);
    if (untold !== undefined && untold.request === request) {
      if (inTime(call)) this.#untold.delete(name);
      return untold.id;
    }
    const owner = this.#names.get(name);
    if (owner !== undefined) throw this.#reserved(name, owner);
    this.#names.set(name, id);
    const progress: Progress = { step: "start", span: call.span };
    const done = work(progress).then(
      () => {
        this.#running.delete(name);
        // everybody who asked has given up, or is about to: the next identical request gets it
        const told = [...creation.waiting].some(inTime);
        if (!told && this.#names.get(name) === id) this.#untold.set(name, { request, id });
        return id;
      },
      (err: unknown) => {
        this.#running.delete(name);
        this.release(name, id);
        throw err;
      },
    );
    // nobody may be waiting when it fails
    done.catch(() => {});
    const creation: Creation = {
      request,
      progress,
      id,
      done,
      startedAt: performance.now(),
      waiting: new Set(),
    };
    this.#running.set(name, creation);
    return await this.#wait(call, name, creation);
  }

  #wait(call: Call, name: string, creation: Creation): Promise<string> {
    return new Promise((resolve, reject) => {
      creation.waiting.add(call);
      const stop = (): void => {
        creation.waiting.delete(call);
        const seconds = Math.round((performance.now() - creation.startedAt) / 1000);
        const ended = abortError(call.signal);
        const words = `create ${this.#what} "${name}": still at "${creation.progress.step}" after ${seconds} s`;
        reject(ended.code === "deadline-exceeded" ? deadlineExceeded(words) : ended);
      };
      if (call.signal.aborted) return stop();
      call.signal.addEventListener("abort", stop, { once: true });
      creation.done.then(resolve, reject).finally(() => call.signal.removeEventListener("abort", stop));
    });
  }

  #reserved(name: string, owner: string): GantryError {
    return failedPrecondition(
      `failed to reserve ${this.#what} name "${name}": name "${name}" is reserved for "${owner}"`,
    );
  }
}

/** The caller will hear of it. */
function inTime(call: Call): boolean {
  return (call.remaining ?? LATE_MS) >= LATE_MS;
}
