/**
 * What a shim needs for becoming a sleeper and itself again: every part that lives tells its state as plain data and puts the
 * files that go along into a {@link Kept}. A part in the middle of something throws {@link Awake}.
 *
 * All states are told in one turn of the event loop, so what is not in the kernel then is in the states.
 */
import { close } from "../../src/platform/syscalls/files.ts";
import type { Poll } from "../sleeper/image.ts";

export const POLLIN = 1;
/** Marks a connection: its end alone does not wake. */
const POLLRDHUP = 0x2000;

/** Not now: something is under way. */
export class Awake extends Error {
  override readonly name = "Awake";
}

/** Files that go through the sleep. */
export class Kept {
  /** Stay open. */
  readonly fds = new Set<number>();
  /** What wakes. */
  readonly polls: Poll[] = [];
  /** Kept for the sleep only: closed when it is over. */
  readonly passing = new Set<number>();
  readonly #made = new Set<number>();

  keep(fd: number): number {
    this.fds.add(fd);
    return fd;
  }

  /** Keeps it, and wakes when it can be read or has ended. */
  watch(fd: number, events = POLLIN): number {
    this.keep(fd);
    this.polls.push({ fd, events });
    return fd;
  }

  /** Keeps a connection, and wakes when it can be read. That it ended is noticed after the sleep. */
  watchConnection(fd: number): number {
    return this.watch(fd, POLLIN | POLLRDHUP);
  }

  /** As {@link keep}, to be closed after the sleep. @param made opened for the sleep: also closed when it comes to nothing */
  pass(fd: number, made: boolean): number {
    this.passing.add(this.keep(fd));
    if (made) this.#made.add(fd);
    return fd;
  }

  /** There is no sleep. */
  discard(): void {
    for (const fd of this.#made) close(fd);
    this.#made.clear();
  }
}

/** Plain data to bytes; knows bigint, Uint8Array and Map too. */
export function pack(state: unknown): Uint8Array {
  const text = JSON.stringify(state, (_key, value: unknown) => {
    if (typeof value === "bigint") return { $n: String(value) };
    if (value instanceof Uint8Array) return { $b: Buffer.from(value).toString("base64") };
    if (value instanceof Map) return { $m: [...(value as Map<unknown, unknown>)] };
    return value;
  });
  return new TextEncoder().encode(text);
}

/** What {@link pack} was given. The caller knows its type. */
export function unpack(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(bytes), (_key, value: unknown) => {
    if (typeof value !== "object" || value === null) return value;
    const { $n, $b, $m } = value as { $n?: unknown; $b?: unknown; $m?: unknown };
    if (typeof $n === "string") return BigInt($n);
    if (typeof $b === "string") return new Uint8Array(Buffer.from($b, "base64"));
    if (Array.isArray($m)) return new Map($m as [unknown, unknown][]);
    return value;
  });
}
