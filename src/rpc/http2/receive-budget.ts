/** Who waits for room. */
interface Claim {
  readonly bytes: number;
  readonly grant: () => void;
}

/**
 * Room for incomplete messages that are larger than a stream's window, shared by the streams of one connection. First
 * come first served; a claim larger than everything is granted when nothing else is held.
 */
export class ReceiveBudget {
  readonly #total: number;
  #used = 0;
  readonly #holders = new Map<object, number>();
  readonly #waiting = new Map<object, Claim>();

  constructor(total: number) {
    this.#total = total;
  }

  /** Asks for `bytes` for `owner`; `grant` is called now or later, never after {@link release}. */
  claim(owner: object, bytes: number, grant: () => void): void {
    this.#waiting.set(owner, { bytes, grant });
    this.#next();
  }

  /** Gives back what `owner` holds or waits for. */
  release(owner: object): void {
    this.#waiting.delete(owner);
    const held = this.#holders.get(owner);
    if (held === undefined) return;
    this.#holders.delete(owner);
    this.#used -= held;
    this.#next();
  }

  #next(): void {
    for (const [owner, claim] of this.#waiting) {
      if (this.#used > 0 && this.#used + claim.bytes > this.#total) return;
      this.#waiting.delete(owner);
      this.#holders.set(owner, claim.bytes);
      this.#used += claim.bytes;
      claim.grant();
    }
  }
}
