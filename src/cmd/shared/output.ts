/**
 * Standard output and error of a client. Under Bun the streams of `process` cost 7 ms of processor time when they are first looked
 * at, as much as everything else a short command does: text is written to the fds, and the streams are made only for who asks.
 */
import { writeSync } from "node:fs";
import { systemMessage } from "./system-message.ts";
import { UNREAD_STATUS } from "./unread.ts";

const made = new Set<1 | 2>();
let program = "gantry";

function stream(fd: 1 | 2): NodeJS.WriteStream {
  const it = fd === 1 ? process.stdout : process.stderr;
  if (!made.has(fd)) {
    made.add(fd);
    // nobody can be told that stderr is gone
    it.on("error", (err) => (fd === 1 ? outputFailed(err) : undefined));
  }
  return it;
}

/**
 * Names the program in messages about its output. With `streams` it also watches process.stdout, for a program that writes there
 * itself.
 */
export function guardOutput(name: string, streams: boolean): void {
  program = name;
  if (streams) {
    stream(1);
    stream(2);
  }
}

/**
 * Ends the program, whose output cannot be written: quietly with 141 when nobody reads it (`| head -1`), as programs that a SIGPIPE
 * ends; else (a full disk, a closed stdout) with a message and 1.
 */
export function outputFailed(err: unknown): never {
  const code = err instanceof Error && "code" in err ? String(err.code) : "";
  if (code === "EPIPE") process.exit(UNREAD_STATUS);
  const known = systemMessage(code);
  toStderr(`${program}: write output: ${known ?? (err instanceof Error ? err.message : String(err))}\n`);
  process.exit(1);
}

/** The stream itself, for pipelines, sizes of terminals, and what is much. */
export const stdoutStream = (): NodeJS.WriteStream => stream(1);
/** See {@link stdoutStream}. */
export const stderrStream = (): NodeJS.WriteStream => stream(2);

/** Writes to stdout. */
export function toStdout(text: string | Uint8Array): void {
  write(1, text);
}

/** Writes to stderr. */
export function toStderr(text: string | Uint8Array): void {
  write(2, text);
}

function write(fd: 1 | 2, text: string | Uint8Array): void {
  let rest = typeof text === "string" ? new TextEncoder().encode(text) : text;
  // once there is a stream it may hold something back: what comes later goes behind it
  while (rest.length > 0 && !made.has(fd)) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (err) {
      // a pipe that is full and does not wait: the stream does
      if (err instanceof Error && "code" in err && err.code === "EAGAIN") stream(fd);
      else if (fd === 1) outputFailed(err);
      else return;
    }
  }
  if (rest.length > 0) stream(fd).write(rest);
}

/** The streams that were made: nothing else can hold anything back at the end of the program. */
export function madeStreams(): NodeJS.WriteStream[] {
  return [...made].map(stream);
}
