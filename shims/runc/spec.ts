/** What the shim reads and changes in OCI documents. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../src/core/errors.ts";

/** What of the spec decides how a container is started and ended. */
export interface SpecTraits {
  /** Init has no pid namespace of its own, so that its end does not end the others. */
  readonly sharesPids: boolean;
  /** The OCI runtime has hooks to call, each at its own command. */
  readonly hooks: boolean;
}

/** Reads them in the bundle. */
export function traitsOf(bundle: string): SpecTraits {
  const spec = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8")) as {
    linux?: { namespaces?: { type?: string; path?: string }[] };
    hooks?: Record<string, unknown> | null;
  };
  const pid = spec.linux?.namespaces?.find((n) => n.type === "pid");
  return {
    sharesPids: pid === undefined || (pid.path ?? "") !== "",
    hooks: Object.keys(spec.hooks ?? {}).length > 0,
  };
}

/** Sets `terminal` in an OCI process. */
export function withTerminal(spec: Uint8Array, terminal: boolean): Uint8Array {
  const text = new TextDecoder().decode(spec);
  let given: { terminal?: boolean };
  try {
    given = JSON.parse(text) as { terminal?: boolean };
  } catch (error) {
    throw invalidArgument("read process of exec: not JSON", { cause: error });
  }
  if ((given.terminal ?? false) === terminal) return spec;
  return new TextEncoder().encode(withMember(text, "terminal", terminal));
}

/** Sets a member of a JSON object without parsing its 64-bit numbers: of two equal keys the last counts. */
export function withMember(text: string, name: string, value: unknown): string {
  const body = text.trimEnd().slice(0, -1).trimEnd();
  const comma = body.endsWith("{") ? "" : ",";
  return `${body}${comma}${JSON.stringify(name)}:${JSON.stringify(value)}}`;
}
