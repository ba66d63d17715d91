import { isFailedPrecondition, isNotFound } from "../../core/errors.ts";
import type { ExecDeps } from "./deps.ts";
import type { Fifos } from "./fifos.ts";

export const SIGKILL = 9;
/** How long a shim may take to answer what is cleaned up, and a killed process to be gone. Milliseconds. */
export const GONE_MS = 10_000;

/**
 * An exec as its shim knows it, from before it is added until it is removed. What is asked here has an end of its own, since whoever
 * wanted the process may be gone, and never fails: a shim that is gone took the process along.
 */
export class ShimExec {
  readonly containerId: string;
  readonly execId: string;
  readonly #deps: ExecDeps;
  readonly #fifos: Fifos;

  /** @param fifos its streams, removed together with it */
  constructor(deps: ExecDeps, containerId: string, execId: string, fifos: Fifos) {
    this.#deps = deps;
    this.containerId = containerId;
    this.execId = execId;
    this.#fifos = fifos;
    deps.live?.add(execId);
  }

  /** Sends a signal to the process alone. */
  async signal(number: number): Promise<void> {
    const { tasks, view } = this.#deps;
    await tasks
      .kill(view.call.detached(GONE_MS), this.containerId, this.execId, number, false)
      .catch((err: unknown) => this.#failed("signal exec", err));
  }

  /** Removes one that was not started, or has ended. */
  async remove(): Promise<void> {
    this.#fifos.dispose();
    await this.#delete().catch((err: unknown) => this.#failed("delete exec", err));
    this.#deps.live?.delete(this.execId);
  }

  /** Ends and removes one whose start failed or was given up: the shim may be in the middle of it. */
  async undoStart(): Promise<void> {
    this.#fifos.dispose();
    await this.signal(SIGKILL);
    // a process that is being started cannot be signalled; its delete waits for it, and is refused when it runs then
    const runs = await this.#delete().then(() => false, isFailedPrecondition);
    if (runs) {
      await this.signal(SIGKILL);
      const { tasks, view } = this.#deps;
      await tasks.wait(view.call.detached(GONE_MS), this.containerId, this.execId).catch(() => {});
      await this.#delete().catch((err: unknown) => this.#failed("delete exec", err));
    }
    this.#deps.live?.delete(this.execId);
  }

  async #delete(): Promise<void> {
    const { tasks, view } = this.#deps;
    await tasks.deleteProcess(view.call.detached(GONE_MS), this.containerId, this.execId);
  }

  #failed(what: string, err: unknown): void {
    const { containerId, execId } = this;
    if (!isNotFound(err)) this.#deps.log.debug(what, { container: containerId, exec: execId, err });
  }
}
