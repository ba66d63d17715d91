/** What the OCI runtime keeps of a container that has ended, and its removal. */
import { isNotFound } from "../../src/core/errors.ts";
import type { Runc } from "./runc.ts";
import type { SpecTraits } from "./spec.ts";

export class Leftovers {
  readonly #runc: Runc;
  readonly #id: string;
  readonly #traits: SpecTraits;
  /** Another command of the OCI runtime removes the container. */
  taken = false;
  /** Removal that began at init's end; resolves with false when it failed. */
  #removal: Promise<boolean> | undefined;
  #gone: boolean | undefined;
  /** Init was reaped by us: nothing of the container can be alive. */
  #ended = false;

  constructor(runc: Runc, id: string, traits: SpecTraits) {
    this.#runc = runc;
    this.#id = id;
    this.#traits = traits;
  }

  /** Being removed right now. */
  get isLeaving(): boolean {
    return this.#removal !== undefined && this.#gone === undefined;
  }

  get areGone(): boolean {
    return this.#gone === true;
  }

  /** From before the sleep. */
  restore(state: { readonly taken: boolean; readonly gone: boolean }): void {
    this.taken = state.taken;
    if (!state.gone) return;
    this.#removal = Promise.resolve(true);
    this.#gone = true;
  }

  /** Init was reaped: begins the removal, so that the delete that follows finds it done, or nearly. */
  begin(): void {
    this.#ended = true;
    // hooks run when the client deletes, as they do under runc
    if (this.#traits.hooks || this.taken) return;
    this.#removal = this.#remove().then(
      () => true,
      () => false,
    );
    void this.#removal.then((gone) => {
      this.#gone = gone;
    });
  }

  /** Removes what is still there. @throws what the OCI runtime says */
  async remove(): Promise<void> {
    if ((await this.#removal) !== true) await this.#remove();
  }

  async #remove(): Promise<void> {
    if (this.#ended && !this.#traits.hooks && !this.#traits.sharesPids && !this.taken) {
      // whoever waits for the exit is answered first
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#runc.forget(this.#id)) return;
    }
    await this.#runc.delete(this.#id, false).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
    });
  }
}
