/** Spec to JSON and back with exact 64-bit numbers: JSON.parse alone would round limits above 2^53 (T3). */
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { Process, Spec } from "./types.ts";

/** Type URL of a spec in an Any, as Go clients register it. */
export const SPEC_URL = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/** Type URL of a process (exec). */
export const PROCESS_URL = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/** Type URL of resources (update). */
export const RESOURCES_URL = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/** JSON text in which bigint members are plain numbers. */
export function toExactJson(value: unknown, indent?: number): string {
  const marker = "\u0001bigint:";
  const text = JSON.stringify(
    value,
    (_k, v: unknown) => (typeof v === "bigint" ? `${marker}${v}` : v),
    indent,
  );
  return text.replaceAll(/"\\u0001bigint:(-?\d+)"/g, "$1");
}

/** Parses JSON; whole numbers beyond 2^53 become bigint. */
export function parseExactJson(text: string): unknown {
  // 2^53 has 16 digits: without so many in a row there is nothing to be looked at, member by member, at ten times the time
  if (!/\d{16}/.test(text)) return JSON.parse(text) as unknown;
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
    const source = context?.source;
    return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
  }) as unknown;
}

/** A spec in an Any. */
export function packSpec(spec: Spec): AnyValue {
  return { typeUrl: SPEC_URL, value: new TextEncoder().encode(toExactJson(spec)) };
}

/** A process in an Any. */
export function packProcess(process: Process): AnyValue {
  return { typeUrl: PROCESS_URL, value: new TextEncoder().encode(toExactJson(process)) };
}

/** @throws invalid-argument when the value is not a spec */
export function unpackSpec(any: AnyValue | undefined): Spec {
  if (any === undefined) throw invalidArgument("container has no spec");
  const value = parseExactJson(new TextDecoder().decode(any.value));
  if (typeof value !== "object" || value === null || !("ociVersion" in value))
    throw invalidArgument("read spec: not an OCI runtime spec");
  return value as Spec;
}
