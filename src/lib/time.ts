/** Nanoseconds in one second. */
export const SECOND = 1_000_000_000n;
/** Nanoseconds in one millisecond. */
export const MILLISECOND = 1_000_000n;

/** The longest time a timer can hold: one for longer would end at once. Milliseconds, 24.8 days. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Wall clock in nanoseconds since the epoch, exact to microseconds: the monotonic clock with an offset, taken again when it
 * and the wall clock part (somebody set the clock). Between two settings it never goes back.
 */
export function nowNs(): bigint {
  const mono = process.hrtime.bigint();
  const wall = BigInt(Date.now()) * MILLISECOND;
  if (offset === undefined)
    offset = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n - mono;
  const ahead = mono + offset - wall;
  if (ahead < -2n * MILLISECOND || ahead > 3n * MILLISECOND) offset = wall + MILLISECOND / 2n - mono;
  return mono + offset;
}
let offset: bigint | undefined;

/** Go's RFC3339Nano in UTC: trailing zeros of the fraction dropped, "2026-01-02T03:04:05.67Z". */
export function formatRfc3339(ns: bigint): string {
  const seconds = floorDiv(ns, SECOND);
  const rest = ns - seconds * SECOND;
  const base = new Date(Number(seconds) * 1000).toISOString().replace(/\.\d+Z$/, "");
  return rest === 0n ? `${base}Z` : `${base}.${String(rest).padStart(9, "0").replace(/0+$/, "")}Z`;
}

/** RFC3339 in UTC with all nine digits, as in Kubernetes log files: "2026-01-02T03:04:05.670000000Z". */
export function formatRfc3339Fixed(ns: bigint): string {
  const seconds = floorDiv(ns, SECOND);
  const base = new Date(Number(seconds) * 1000).toISOString().replace(/\.\d+Z$/, "");
  return `${base}.${String(ns - seconds * SECOND).padStart(9, "0")}Z`;
}

/**
 * Nanoseconds since the epoch of an RFC3339 time with up to nine digits and any offset.
 * @throws SyntaxError on anything else
 */
export function parseRfc3339(text: string): bigint {
  const match = /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d{2}:\d{2})$/.exec(
    text,
  );
  const millis =
    match === null ? Number.NaN : Date.parse(`${match[1]}T${match[2]}${match[4]?.toUpperCase()}`);
  if (match === null || Number.isNaN(millis)) throw new SyntaxError(`parse time "${text}": want RFC 3339`);
  return BigInt(millis) * MILLISECOND + BigInt((match[3] ?? "").padEnd(9, "0"));
}

/** Splits into protobuf Timestamp parts: `nanos` is 0 to 999 999 999 also for times before the epoch. */
export function splitNs(ns: bigint): { seconds: bigint; nanos: number } {
  const seconds = floorDiv(ns, SECOND);
  return { seconds, nanos: Number(ns - seconds * SECOND) };
}

/** Joins protobuf Timestamp parts. */
export function joinNs(seconds: bigint, nanos: number): bigint {
  return seconds * SECOND + BigInt(nanos);
}

function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}
