/** Times as crictl shows them. */
import { formatAge } from "../../../lib/human.ts";
import { nowNs } from "../../../lib/time.ts";

/** "3 minutes ago". */
export function ago(ns: bigint): string {
  return `${formatAge(nowNs() - ns)} ago`;
}

/** Go's zero time. */
export const ZERO_TIME = "0001-01-01T00:00:00Z";

/** RFC 3339 with nanoseconds in the local time zone, trailing zeros dropped. */
export function localRfc3339(ns: bigint): string {
  const { date, clock, fraction, offset } = parts(ns);
  const zone = offset === 0 ? "Z" : zoneText(offset, ":");
  return `${date}T${clock}${fraction}${zone}`;
}

/** As Go prints a local time: `2026-01-02 03:04:05.6 +0100 +0100`. */
export function localGoTime(ns: bigint): string {
  const { date, clock, fraction, offset } = parts(ns);
  const zone = zoneText(offset, "");
  return `${date} ${clock}${fraction} ${zone} ${offset === 0 ? "UTC" : zone}`;
}

function parts(ns: bigint): { date: string; clock: string; fraction: string; offset: number } {
  const second = 1_000_000_000n;
  const rest = ((ns % second) + second) % second;
  const millis = Number((ns - rest) / 1_000_000n);
  const offset = -new Date(millis).getTimezoneOffset();
  const local = new Date(millis + offset * 60_000).toISOString();
  const fraction = rest === 0n ? "" : `.${String(rest).padStart(9, "0").replace(/0+$/, "")}`;
  return { date: local.slice(0, 10), clock: local.slice(11, 19), fraction, offset };
}

function zoneText(minutes: number, colon: string): string {
  const size = Math.abs(minutes);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}${colon}${two(size % 60)}`;
}
