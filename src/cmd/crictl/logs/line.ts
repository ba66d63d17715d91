/** Lines of log files: Kubernetes' format, and Docker's JSON for engines that still write it. */
import { Buffer } from "node:buffer";
import { parseRfc3339 } from "../../../lib/time.ts";

/** One entry; a long line is several, all but the last partial. */
export interface LogEntry {
  /** As it is in the file. */
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  /** The line ends here. */
  readonly full: boolean;
  /** With the line feed when `full`. */
  readonly content: Uint8Array;
}

const SPACE = 0x20;

/**
 * Parses one line of a file, its line feed included.
 * @returns undefined for what is not a line of a log
 */
export function parseLine(line: Uint8Array): LogEntry | undefined {
  return line[0] === 0x7b ? parseJson(line) : parseCri(line);
}

/** `2026-01-02T03:04:05.000000006Z stdout F text`. */
function parseCri(line: Uint8Array): LogEntry | undefined {
  const view = Buffer.from(line.buffer, line.byteOffset, line.length);
  const first = view.indexOf(SPACE);
  const second = view.indexOf(SPACE, first + 1);
  if (first < 20 || second < 0) return undefined;
  const stream = view.toString("latin1", first + 1, second);
  if (stream !== "stdout" && stream !== "stderr") return undefined;
  // without tags and text for an empty line of some engines
  const third = view.indexOf(SPACE, second + 1);
  const end = third < 0 ? view.length : third;
  const tag = view
    .toString("latin1", second + 1, end)
    .split(":")[0]
    ?.trimEnd();
  if (tag !== "F" && tag !== "P") return undefined;
  const text = third < 0 ? Buffer.from("\n") : view.subarray(third + 1);
  const full = tag === "F";
  return {
    time: view.toString("latin1", 0, first),
    stream,
    full,
    content: full || text.at(-1) !== 0x0a ? text : text.subarray(0, -1),
  };
}

function parseJson(line: Uint8Array): LogEntry | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(line).toString("utf8"));
    if (typeof value !== "object" || value === null) return undefined;
    const { log, stream, time } = value as Record<string, unknown>;
    if (typeof log !== "string" || typeof time !== "string") return undefined;
    return {
      time,
      stream: stream === "stderr" ? "stderr" : "stdout",
      full: log.endsWith("\n"),
      content: Buffer.from(log),
    };
  } catch {
    return undefined;
  }
}

/** Nanoseconds since the epoch of an entry; undefined when the file has nonsense there. */
export function timeOf(entry: LogEntry): bigint | undefined {
  try {
    return parseRfc3339(entry.time);
  } catch {
    return undefined;
  }
}
