/** Where a Kubernetes log goes: `cri-log:///PATH?max=BYTES`, or the part behind the scheme. */
import { invalidArgument } from "../../src/core/errors.ts";

/** Longest text of a line when the address says nothing, bytes. */
const DEFAULT_LINE = 16_384;
const LARGEST_LINE = 1 << 20;

export interface LogAddress {
  readonly path: string;
  /** Longest text of a line, bytes; 0 or less for no limit of its own. */
  readonly max: number;
}

/** @throws invalid-argument */
export function parseLogAddress(address: string): LogAddress {
  const [path = "", query = ""] = address.replace(/^cri-log:\/\//, "").split("?", 2);
  const given = new URLSearchParams(query).get("max");
  const max = given === null ? DEFAULT_LINE : Number(given);
  if (!path.startsWith("/") || !Number.isSafeInteger(max) || max > LARGEST_LINE)
    throw invalidArgument(`open log "${address}": want cri-log:///PATH?max=BYTES`);
  return { path: decodeURIComponent(path), max };
}
