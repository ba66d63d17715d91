import { randomBytes } from "node:crypto";
import { resourceExhausted } from "../../core/errors.ts";
import { base64UrlEncode } from "../../lib/bytes.ts";

/** 128 bits: not to be guessed by whoever can reach the port (S59). */
const TOKEN_BYTES = 16;

interface Entry<T> {
  readonly value: T;
  /** Milliseconds on the monotonic clock. */
  readonly expires: number;
}

/** Requests that wait for their client: each is found by a random token, once, within the token's life. */
export class TokenStore<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #lifeMs: number;
  readonly #max: number;
  readonly #now: () => number;

  /** @param now monotonic milliseconds; replaced in tests */
  constructor(lifeMs: number, max: number, now: () => number = () => performance.now()) {
    this.#lifeMs = lifeMs;
    this.#max = max;
    this.#now = now;
  }

  /** Tokens held, expired ones included until the next call. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Keeps `value` and returns its token (22 characters, safe in a URL).
   * @throws resource-exhausted when too many wait
   */
  add(value: T): string {
    this.#drop();
    if (this.#entries.size >= this.#max) {
      throw resourceExhausted("maximum number of in-flight requests exceeded");
    }
    const token = base64UrlEncode(randomBytes(TOKEN_BYTES));
    this.#entries.set(token, { value, expires: this.#now() + this.#lifeMs });
    return token;
  }

  /** The value of a live token, which stays usable. */
  peek(token: string): T | undefined {
    this.#drop();
    return this.#entries.get(token)?.value;
  }

  /** The value of a live token; the token is used up. */
  take(token: string): T | undefined {
    const value = this.peek(token);
    this.#entries.delete(token);
    return value;
  }

  /** Entries are in the order of their expiry: all have one life. */
  #drop(): void {
    const now = this.#now();
    for (const [token, { expires }] of this.#entries) {
      if (expires > now) return;
      this.#entries.delete(token);
    }
  }
}
