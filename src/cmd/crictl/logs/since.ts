/** `--since`: a duration back from now, a time, or seconds since 1970. */
import { invalidArgument } from "../../../core/errors.ts";
import { parseDuration } from "../../../lib/human.ts";
import { parseRfc3339, SECOND } from "../../../lib/time.ts";

/**
 * @param now nanoseconds since the epoch
 * @returns nanoseconds since the epoch
 * @throws invalid-argument
 */
export function parseSince(text: string, now: bigint): bigint {
  const seconds = /^(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (seconds !== null) return BigInt(seconds[1] ?? "0") * SECOND + BigInt((seconds[2] ?? "").padEnd(9, "0"));
  const date =
    /^(\d{4}-\d{2}-\d{2})(?:T(\d{2})(?::(\d{2})(?::(\d{2})(\.\d{1,9})?)?)?)?(Z|[+-]\d{2}:\d{2})?$/.exec(text);
  if (date !== null) {
    const [, day, hour = "00", minute = "00", second = "00", fraction = "", zone] = date;
    const clock = `${day}T${hour}:${minute}:${second}${fraction}`;
    // without a zone it is local time
    const ns = parseRfc3339(`${clock}${zone ?? "Z"}`);
    if (zone !== undefined) return ns;
    const offset = new Date(Number(ns / 1_000_000n)).getTimezoneOffset();
    return ns + BigInt(offset) * 60n * SECOND;
  }
  try {
    return now - parseDuration(text);
  } catch (err) {
    throw invalidArgument(`--since "${text}": not a time`, {
      cause: err,
      hint: "use 42m, 2026-01-02T13:23:37, 2026-01-02T13:23:37Z, or seconds since 1970",
    });
  }
}
