/** Command line of a runtime v2 shim: Go's flag package syntax (`-name value`, `-name=value`, one dash or two). */
import { invalidArgument } from "../../src/core/errors.ts";

/** What a daemon passes to every shim. Empty strings stand for flags that were not given. */
export interface ShimArgs {
  readonly namespace: string;
  readonly id: string;
  /** gRPC address of the daemon. */
  readonly address: string;
  readonly publishBinary: string;
  readonly bundle: string;
  readonly socket: string;
  readonly debugSocket: string;
  readonly debug: boolean;
  readonly version: boolean;
  readonly info: boolean;
  /** `start`, `delete`, or "" to serve. */
  readonly action: string;
}

const STRINGS: Readonly<Record<string, keyof ShimArgs>> = {
  namespace: "namespace",
  id: "id",
  address: "address",
  "publish-binary": "publishBinary",
  bundle: "bundle",
  socket: "socket",
  "debug-socket": "debugSocket",
};
const BOOLEANS: Readonly<Record<string, keyof ShimArgs>> = {
  debug: "debug",
  v: "version",
  info: "info",
};

/** @throws invalid-argument on an unknown flag or a missing value */
export function parseShimArgs(args: readonly string[]): ShimArgs {
  const out = new Map<keyof ShimArgs, string | boolean>();
  let at = 0;
  for (; at < args.length; at++) {
    const match = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(args[at] ?? "");
    if (match === null) break;
    const name = match[1] ?? "";
    const text = STRINGS[name];
    const flag = BOOLEANS[name];
    if (text !== undefined) {
      const value = match[2] ?? args[++at];
      if (value === undefined) throw invalidArgument(`flag needs an argument: -${name}`);
      out.set(text, value);
    } else if (flag !== undefined) {
      out.set(flag, match[2] === undefined || !["false", "0", "f", "F", "FALSE"].includes(match[2]));
    } else {
      throw invalidArgument(`flag provided but not defined: -${name}`);
    }
  }
  const string = (key: keyof ShimArgs): string => String(out.get(key) ?? "");
  return {
    namespace: string("namespace"),
    id: string("id"),
    address: string("address"),
    publishBinary: string("publishBinary"),
    bundle: string("bundle"),
    socket: string("socket"),
    debugSocket: string("debugSocket"),
    debug: out.get("debug") === true,
    version: out.get("version") === true,
    info: out.get("info") === true,
    action: args[at] ?? "",
  };
}
