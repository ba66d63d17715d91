import { invalidArgument } from "../errors.ts";

declare const brand: unique symbol;
/** A valid namespace name. */
export type Namespace = string & { readonly [brand]: "namespace" };

/** Longest identifier containerd accepts. */
const MAX = 76;
const IDENTIFIER = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;

/**
 * Checks an identifier (namespace, container id, topic part): alphanumerics joined by single `.`, `_` or `-`,
 * at most 76 characters.
 * @throws invalid-argument
 */
export function checkIdentifier(value: string): string {
  if (value.length === 0) throw invalidArgument("identifier must not be empty");
  if (value.length > MAX)
    throw invalidArgument(`identifier "${value}" greater than maximum length (${MAX} characters)`);
  if (!IDENTIFIER.test(value)) throw invalidArgument(`identifier "${value}" must match ${IDENTIFIER.source}`);
  return value;
}

/** Parses a namespace name. @throws invalid-argument */
export function parseNamespace(value: string): Namespace {
  return checkIdentifier(value) as Namespace;
}
