/**
 * Standard output and error of a client. Under Bun the streams of `process` cost 7 ms of processor time when they are first looked
 * at, as much as everything else a short command does: text is written to the fds, and the streams are made only for who asks.
 */
import { writeSync } from "node:fs";

const made = new Set<1 | 2>();

function stream(fd: 1 | 2): NodeJS.WriteStream {
  made.add(fd);
  return fd === 1 ? process.stdout : process.stderr;
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
    } catch {
      // a pipe that is full and does not wait, or without a reader: the stream knows what to do
      stream(fd);
    }
  }
  if (rest.length > 0) stream(fd).write(rest);
}

/** The streams that were made: nothing else can hold anything back at the end of the program. */
export function madeStreams(): NodeJS.WriteStream[] {
  return [...made].map(stream);
}
