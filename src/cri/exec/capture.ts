import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { readFd } from "../../platform/fs/fd-stream.ts";
import { SyscallError } from "../../platform/syscalls/errors.ts";
import { tryRead } from "../../platform/syscalls/files.ts";

const BLOCK = 64 << 10;
/** How often output that is dropped is looked at while there is none, milliseconds. */
const POLL_MS = 1;

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

  /** Reads `fd` (non-blocking) to its end or until `signal` aborts. */
  async pump(fd: number, budget: CaptureBudget, stream: 0 | 1, signal: AbortSignal): Promise<void> {
    let full = false;
    for await (const chunk of readFd(fd, signal)) {
      const keep = budget.take(stream, chunk.length);
      if (keep > 0) this.#append(keep === chunk.length ? chunk : chunk.subarray(0, keep));
      full = keep < chunk.length;
      // whoever stops to read a stream loses what was read ahead: only when all that comes is dropped
      if (full) break;
    }
    if (full) await drop(fd, signal);
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

  /** Bytes that were kept. */
  get length(): number {
    return this.#length;
  }

  /** What was kept, in pieces. */
  parts(): Uint8Array[] {
    return this.#blocks.map((block, index) =>
      block.subarray(0, Math.min(BLOCK, this.#length - index * BLOCK)),
    );
  }
}

/** Reads and drops, into one buffer again and again: each chunk of the runtime's streams is new memory. */
async function drop(fd: number, signal: AbortSignal): Promise<void> {
  const buffer = new Uint8Array(BLOCK);
  while (!signal.aborted) {
    const length = tryRead(fd, buffer);
    if (length === 0) return;
    if (length > 0) await new Promise((resolve) => setImmediate(resolve));
    else if (length === -constants.errno.EAGAIN) await delay(POLL_MS);
    else throw new SyscallError("read", -length);
  }
}
