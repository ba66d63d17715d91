import { readFd } from "../../platform/fs/fd-stream.ts";

const BLOCK = 64 << 10;

/** Bytes that two streams may keep together, and what each of them is sure of. */
export class CaptureBudget {
  readonly #limit: number;
  readonly #reserve: number;
  readonly #used: [number, number] = [0, 0];

  /**
   * @param limit bytes kept of both streams together
   * @param reserve bytes of each stream that the other one cannot take
   */
  constructor(limit: number, reserve: number) {
    this.#limit = limit;
    this.#reserve = reserve;
  }

  /** Takes up to `bytes` for stream 0 or 1; returns how many may be kept. */
  take(stream: 0 | 1, bytes: number): number {
    const other = Math.max(this.#used[stream === 0 ? 1 : 0], this.#reserve);
    const granted = Math.max(0, Math.min(bytes, this.#limit - other - this.#used[stream]));
    this.#used[stream] += granted;
    return granted;
  }
}

/** The beginning of a stream; what is over the budget is read and dropped, so the writer never waits. */
export class Capture {
  readonly #blocks: Uint8Array[] = [];
  #length = 0;
  #last = BLOCK;

  /** Reads `fd` to its end or until `signal` aborts. */
  async pump(fd: number, budget: CaptureBudget, stream: 0 | 1, signal: AbortSignal): Promise<void> {
    for await (const chunk of readFd(fd, signal)) {
      const keep = budget.take(stream, chunk.length);
      if (keep > 0) this.#append(keep === chunk.length ? chunk : chunk.subarray(0, keep));
    }
  }

  #append(chunk: Uint8Array): void {
    this.#length += chunk.length;
    for (let at = 0; at < chunk.length; ) {
      if (this.#last === BLOCK) {
        this.#blocks.push(new Uint8Array(BLOCK));
        this.#last = 0;
      }
      const part = chunk.subarray(at, at + BLOCK - this.#last);
      this.#blocks.at(-1)?.set(part, this.#last);
      this.#last += part.length;
      at += part.length;
    }
  }

  /** What was kept. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.#length);
    this.#blocks.forEach((block, index) => {
      const at = index * BLOCK;
      all.set(at + BLOCK > this.#length ? block.subarray(0, this.#length - at) : block, at);
    });
    return all;
  }
}
