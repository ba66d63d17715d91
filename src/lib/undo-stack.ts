/** One step that takes back what was made. */
export type UndoStep = () => Promise<unknown> | unknown;

/**
 * Cleanup for operations of several steps: push the undo of each step right after it succeeded, `commit()` last.
 *
 *     await using undo = new UndoStack((error) => log.warn({ error }, "undo failed"));
 *     const dir = await makeDir();
 *     undo.push(() => removeDir(dir));
 *     undo.commit();
 *
 * Not built on AsyncDisposableStack: Bun's had ordering faults (style.md, runtime traps).
 */
export class UndoStack implements AsyncDisposable {
  readonly #steps: UndoStep[] = [];
  readonly #onError: (error: unknown) => void;

  /** @param onError told about each undo step that failed; the remaining steps still run */
  constructor(onError: (error: unknown) => void = () => {}) {
    this.#onError = onError;
  }

  /** Number of steps that would run. */
  get size(): number {
    return this.#steps.length;
  }

  /** Adds a step; steps run last in, first out. */
  push(step: UndoStep): void {
    this.#steps.push(step);
  }

  /** Keeps what was made: forgets every step. */
  commit(): void {
    this.#steps.length = 0;
  }

  /** Runs every step now, newest first. Never throws: failures go to `onError`. */
  async undo(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.undo();
  }
}
