/** What every command starts from: the connection, the call, and typed access to its flags. */
import { Call, type NamespacedCall } from "../../core/call.ts";
import { invalidArgument } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { parseDuration } from "../../lib/human.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import type { Transport } from "../../rpc/types.ts";
import { interrupted } from "../shared/interrupt.ts";

/** Flags before the command. */
export class GlobalOptions {
  readonly address: string;
  readonly namespace: string;
  readonly debug: boolean;
  readonly #timeoutMs: number;

  constructor(options: Record<string, unknown>) {
    this.address = String(options["address"]).replace(/^unix:\/\//, "");
    this.namespace = String(options["namespace"]);
    this.debug = options["debug"] === true;
    this.#timeoutMs = durationMs(String(options["timeout"] ?? "0s"));
  }

  /** Connects on first use. */
  connect(): Transport {
    return createGrpcTransport({ path: this.address });
  }

  /** A call in the namespace, ended by --timeout and by SIGINT when `interruptible`. */
  call(interruptible = true): NamespacedCall {
    let call: NamespacedCall = new Call({}).in(parseNamespace(this.namespace));
    if (this.#timeoutMs > 0) call = call.within(this.#timeoutMs);
    return interruptible ? call.until(interrupted()) : call;
  }
}

/** @throws invalid-argument */
export function durationMs(text: string): number {
  try {
    return Number(parseDuration(text) / 1_000_000n);
  } catch (err) {
    throw invalidArgument(`duration "${text}": use a number with a unit, such as 30s or 1m30s`, {
      cause: err,
    });
  }
}

/** A positional that must be there. @throws invalid-argument with a usage hint */
export function need(args: readonly string[], index: number, name: string): string {
  const value = args[index];
  if (value === undefined || value === "")
    throw invalidArgument(`${name} must be provided`, { hint: "add --help to the command for its usage" });
  return value;
}

/** A flag that is text. */
export function textOf(options: Readonly<Record<string, unknown>>, name: string): string {
  const value = options[name];
  return typeof value === "string" ? value : "";
}

/** A flag given any number of times. */
export function listOf(options: Readonly<Record<string, unknown>>, name: string): string[] {
  const value = options[name];
  return Array.isArray(value) ? value.map(String) : [];
}

/** `key=value` pairs as labels; a key alone is an empty value (which removes a label on update). */
export function labelsOf(pairs: readonly string[]): Map<string, string> {
  return new Map(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      return at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
