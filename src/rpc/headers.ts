/**
 * The identity headers of a call and their names on each transport. Inside the program the gRPC names are used; the
 * ttrpc transport renames the namespace on its way in and out, so callers need not know which transport they hold.
 */
import type { Call } from "../core/call.ts";
import { invalidArgument, messageOf } from "../core/errors.ts";
import { type Namespace, parseNamespace } from "../core/ids/namespace.ts";
import type { ClientCallOptions, Headers } from "./types.ts";

/** Namespace header of gRPC, and the neutral name. */
export const NAMESPACE_HEADER = "containerd-namespace";
/** Namespace header of ttrpc. */
export const NAMESPACE_HEADER_TTRPC = "containerd-namespace-ttrpc";
/** Lease header of both. */
const LEASE_HEADER = "containerd-lease";

/** What the identity headers say. */
export interface CallIdentity {
  readonly namespace: Namespace | undefined;
  readonly lease: string | undefined;
}

/**
 * Reads namespace and lease. Both are optional here: whether a method needs a namespace is the service's rule.
 * @throws invalid-argument when the namespace is not a valid identifier
 */
export function identityFromHeaders(headers: Headers, namespaceHeader = NAMESPACE_HEADER): CallIdentity {
  const name = headers.get(namespaceHeader)?.[0];
  const lease = headers.get(LEASE_HEADER)?.[0];
  return {
    namespace: name === undefined || name === "" ? undefined : parse(name),
    lease: lease === "" ? undefined : lease,
  };
}

function parse(name: string): Namespace {
  try {
    return parseNamespace(name);
  } catch (err) {
    throw invalidArgument(`namespace validation: ${messageOf(err)}`, { cause: err });
  }
}

/** The identity headers of an outgoing call, under the neutral names. */
function headersFor(call: Call): Headers {
  const headers = new Map<string, readonly string[]>();
  if (call.namespace !== undefined) headers.set(NAMESPACE_HEADER, [call.namespace]);
  if (call.lease !== undefined && call.lease !== "") headers.set(LEASE_HEADER, [call.lease]);
  return headers;
}

/** Client options that carry a call on: its identity, signal, remaining time and place in a trace. */
export function callOptions(call: Call): ClientCallOptions {
  return { headers: headersFor(call), signal: call.signal, timeoutMs: call.remaining, span: call.span };
}
