/** Reads and follows a container's log file, over rotations. */
import { Buffer } from "node:buffer";
import { type FSWatcher, watch } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { messageOf, notFound, unavailable } from "../../../core/errors.ts";
import { createDeferred, type Deferred } from "../../../lib/deferred.ts";
import { type LogEntry, parseLine, timeOf } from "./line.ts";

/** What to read. */
export interface ReadOptions {
  readonly follow: boolean;
  /** Lines from the end; undefined for all. */
  readonly tail: number | undefined;
  /** Nanoseconds since the epoch; older lines are left out. */
  readonly since: bigint | undefined;
  readonly signal: AbortSignal;
  /** Whether more may come: asked when nothing did for a while. */
  readonly running: () => Promise<boolean>;
}

const CHUNK = 64 << 10;
const LF = 0x0a;
/** When nothing is heard for so long, the container is looked at. */
const QUIET_MS = 1_000;
/** How long lines may still come to a file after its successor got its first one: engines change over one line at a time. */
const LATE_MS = 100;

/** Entries of the file at `path` in order. @throws not-found, unavailable */
export async function* readLog(
  path: string,
  options: ReadOptions,
): AsyncGenerator<LogEntry, void, undefined> {
  let left = options.follow || options.tail === undefined ? Number.POSITIVE_INFINITY : options.tail;
  using changes = options.follow ? new Changes(path, options.signal) : undefined;
  let file = await openLog(path);
  // The file that took the place of ours. Its first lines say that the engine changed over, and that ours soon has its last.
  let next: FileHandle | undefined;
  let until: number | undefined;
  try {
    let at = options.tail === undefined ? 0 : await tailStart(file, options.tail);
    let rest: Buffer = Buffer.alloc(0);
    let last = false;
    while (!options.signal.aborted) {
      const buffer = Buffer.allocUnsafe(CHUNK);
      const { bytesRead } = await file.read(buffer, 0, CHUNK, at);
      at += bytesRead;
      if (bytesRead > 0) {
        last = false;
        const all =
          rest.length === 0
            ? buffer.subarray(0, bytesRead)
            : Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
        const end = all.lastIndexOf(LF) + 1;
        rest = all.subarray(end);
        for (const entry of entries(all.subarray(0, end), options.since)) {
          // what came after the tail was counted is not asked for
          if (left-- <= 0) return;
          yield entry;
        }
        continue;
      }
      if (changes === undefined) break;
      if (next === undefined) {
        const found = await rotated(path, file, at);
        if (found === "emptied") {
          at = 0;
          rest = Buffer.alloc(0);
          continue;
        }
        next = found;
      }
      if (next !== undefined) {
        if (until === undefined) {
          if ((await next.stat()).size > 0) until = Date.now() + LATE_MS;
          else {
            const newer = await rotated(path, next, 0);
            if (typeof newer === "object") {
              await next.close();
              next = newer;
              continue;
            }
          }
        }
        // ours was just read to its end
        if (last || (until !== undefined && Date.now() >= until)) {
          await file.close();
          file = next;
          next = undefined;
          until = undefined;
          at = 0;
          rest = Buffer.alloc(0);
          continue;
        }
      }
      if (last) break;
      const wait = until === undefined ? QUIET_MS : Math.max(1, until - Date.now());
      if (!(await changes.next(wait)) && wait === QUIET_MS && !(await options.running())) last = true;
    }
    if (rest.length > 0 && left > 0 && !options.signal.aborted) yield* entries(rest, options.since);
  } finally {
    await file.close();
    await next?.close();
  }
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (err) {
    const code = err instanceof Error && "code" in err ? err.code : undefined;
    if (code === "ENOENT")
      throw notFound(`open log file "${path}": no such file or directory`, {
        cause: err,
        hint: "logs are read from the engine's machine: run this there",
      });
    throw unavailable(`open log file "${path}": ${messageOf(err)}`, {
      cause: err,
      ...(code === "EACCES" ? { hint: "run as root" } : {}),
    });
  }
}

function* entries(bytes: Buffer, since: bigint | undefined): Generator<LogEntry, void, undefined> {
  for (let at = 0; at < bytes.length; ) {
    const found = bytes.indexOf(LF, at);
    const end = found < 0 ? bytes.length : found + 1;
    const entry = parseLine(bytes.subarray(at, end));
    at = end;
    if (entry === undefined) continue;
    if (since !== undefined) {
      const time = timeOf(entry);
      if (time !== undefined && time < since) continue;
    }
    yield entry;
  }
}

/** Where the last `lines` lines of a file begin. Partial entries count as lines, as they do for kubelets. */
export async function tailStart(file: FileHandle, lines: number): Promise<number> {
  const { size } = await file.stat();
  if (lines <= 0) return size;
  let left = lines;
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - CHUNK);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    for (let i = bytesRead - 1; i >= 0; i--) {
      // the line feed at the very end ends the last line
      if (buffer[i] !== LF || start + i === size - 1) continue;
      if (--left === 0) return start + i + 1;
    }
    end = start;
  }
  return 0;
}

/** The file that took the place of ours, if any; ours may also have been emptied. */
async function rotated(
  path: string,
  file: FileHandle,
  at: number,
): Promise<FileHandle | "emptied" | undefined> {
  try {
    const [named, ours] = await Promise.all([stat(path, { bigint: true }), file.stat({ bigint: true })]);
    if (named.ino === ours.ino && named.dev === ours.dev)
      return named.size < BigInt(at) ? "emptied" : undefined;
    return await open(path, "r");
  } catch {
    // between two files
    return undefined;
  }
}

/** Waits for changes of a file and of its name. */
class Changes implements Disposable {
  readonly #watcher: FSWatcher | undefined;
  readonly #signal: AbortSignal;
  #changed = false;
  #wake: Deferred<void> | undefined;

  constructor(path: string, signal: AbortSignal) {
    this.#signal = signal;
    const name = basename(path);
    try {
      this.#watcher = watch(dirname(path), (_event, changed) => {
        // the rotated file keeps the name as the beginning of its own
        if (changed === null || changed.startsWith(name)) this.#tell();
      });
      this.#watcher.on("error", () => {});
    } catch {
      // without it, changes are seen when the time is over
    }
    signal.addEventListener("abort", this.#tell, { once: true });
  }

  readonly #tell = (): void => {
    this.#changed = true;
    this.#wake?.resolve();
  };

  /** @returns whether something changed in time */
  async next(ms: number): Promise<boolean> {
    if (!this.#changed && !this.#signal.aborted) {
      this.#wake = createDeferred<void>();
      const timer = setTimeout(() => this.#wake?.resolve(), ms);
      await this.#wake.promise;
      clearTimeout(timer);
      this.#wake = undefined;
    }
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#signal.removeEventListener("abort", this.#tell);
  }
}
