/**
 * Where a Kubernetes log goes: `cri-log:///PATH?max=BYTES`, or the part behind the scheme. With `&size=BYTES&files=N` the
 * writer rotates by itself, for containers that no kubelet looks after.
 */
import { invalidArgument } from "../../src/core/errors.ts";

/** Longest text of a line when the address says nothing, bytes. */
const DEFAULT_LINE = 16_384;
const LARGEST_LINE = 1 << 20;
/** Smallest file before a rotation, bytes, and most files kept: anything else is a mistake. */
const SMALLEST_FILE = 4096;
const MOST_FILES = 100;

/** When the writer rotates. */
export interface Rotation {
  /** Bytes after which PATH becomes PATH.1, PATH.1 becomes PATH.2, and so on. */
  readonly size: number;
  /** Files kept in all, PATH among them. */
  readonly files: number;
}

export interface LogAddress {
  readonly path: string;
  /** Longest text of a line, bytes; 0 or less for no limit of its own. */
  readonly max: number;
  /** Undefined: somebody else rotates. */
  readonly rotate?: Rotation | undefined;
}

/** @throws invalid-argument */
export function parseLogAddress(address: string): LogAddress {
  const [path = "", query = ""] = address.replace(/^cri-log:\/\//, "").split("?", 2);
  const params = new URLSearchParams(query);
  const given = params.get("max");
  const max = given === null ? DEFAULT_LINE : Number(given);
  if (!path.startsWith("/") || !Number.isSafeInteger(max) || max > LARGEST_LINE)
    throw invalidArgument(`open log "${address}": want cri-log:///PATH?max=BYTES`);
  return { path: decodeURIComponent(path), max, rotate: parseRotation(address, params) };
}

function parseRotation(address: string, params: URLSearchParams): Rotation | undefined {
  if (!params.has("size")) return undefined;
  const size = Number(params.get("size"));
  const files = Number(params.get("files") ?? "1");
  if (
    !Number.isSafeInteger(size) ||
    size < SMALLEST_FILE ||
    !Number.isSafeInteger(files) ||
    files < 1 ||
    files > MOST_FILES
  )
    throw invalidArgument(
      `open log "${address}": want size of at least ${SMALLEST_FILE} bytes and files from 1 to ${MOST_FILES}`,
    );
  return { size, files };
}
