import { text } from "../ffi/memory.ts";
import { smallProcessEnv } from "../process/memory.ts";
import { type ChildHandle, spawnProcess } from "../process/spawn.ts";
import { reExec } from "../runtime.ts";
import { deleteNetns, isPinned, preparePin } from "./netns.ts";

/** Longest time for one namespace. Milliseconds. */
const MAKE_MS = 20_000;
/** The helper ends after so long without work: starting it costs ten times what a namespace does. Milliseconds. */
const IDLE_MS = 3_000;

interface Request {
  readonly path: string;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

/**
 * Makes network namespaces as `createNetns` does, many of them with one helper process: for bursts. The helper works in the
 * order of the requests, and ends when there are none for some seconds.
 */
export class NetnsMaker {
  #helper: ChildHandle | undefined;
  /** What the helper was told and has not answered, in order. */
  #waiting: Request[] = [];
  #timer: NodeJS.Timeout | undefined;

  /**
   * Makes a namespace that lives on as a mount at `path`.
   * @throws SyscallError EEXIST when the path exists; Error with the helper's words, or the signal's reason
   */
  async create(path: string, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    preparePin(path);
    try {
      await new Promise<void>((resolve, reject) => {
        const helper = this.#helper ?? this.#start();
        this.#waiting.push({ path, resolve, reject });
        this.#watch(MAKE_MS);
        helper.stdin?.write(`${path}\n`);
      });
      signal?.throwIfAborted();
      if (!isPinned(path)) throw new Error(`create network namespace "${path}": nothing is mounted there`);
    } catch (error) {
      deleteNetns(path);
      throw error;
    }
  }

  /** Ends the helper; what it was not done with fails. */
  close(): void {
    if (this.#helper !== undefined) this.#end(this.#helper, "the daemon ends");
  }

  #start(): ChildHandle {
    const self = reExec(["helper", "netns-pins"]);
    const helper = spawnProcess(self.command, self.args, {
      stdio: ["pipe", "pipe", "ignore"],
      cwd: "/",
      env: { ...process.env, ...smallProcessEnv, NOTIFY_SOCKET: undefined },
      ...(self.argv0 === undefined ? {} : { argv0: self.argv0 }),
    });
    this.#helper = helper;
    helper.stdin?.on("error", () => {}); // its end is told below
    let rest = "";
    helper.stdout?.on("data", (chunk: Uint8Array) => {
      const lines = (rest + text(chunk)).split("\n");
      rest = lines.pop() ?? "";
      if (this.#helper === helper) for (const line of lines) this.#answered(line);
    });
    void helper.exited.then(({ code }) => this.#end(helper, `helper exit ${code}`));
    return helper;
  }

  #answered(line: string): void {
    const request = this.#waiting.shift();
    if (line === "ok") request?.resolve();
    else request?.reject(new Error(`create network namespace "${request.path}": ${line}`));
    this.#watch(this.#waiting.length > 0 ? MAKE_MS : IDLE_MS);
  }

  /** One timer for both: an answer that does not come, and no more questions. */
  #watch(ms: number): void {
    clearTimeout(this.#timer);
    const helper = this.#helper;
    if (helper === undefined) return;
    this.#timer = setTimeout(() => this.#end(helper, `no answer in ${ms} ms`), ms);
    this.#timer.unref();
  }

  #end(helper: ChildHandle, reason: string): void {
    if (this.#helper !== helper) return;
    this.#helper = undefined;
    clearTimeout(this.#timer);
    const left = this.#waiting;
    this.#waiting = [];
    helper.stdin?.end();
    if (left.length > 0) helper.kill(9);
    for (const { path, reject } of left) reject(new Error(`create network namespace "${path}": ${reason}`));
  }
}
