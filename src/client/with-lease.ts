/** Leases over RPC for the length of one piece of work. */
import type { NamespacedCall } from "../core/call.ts";
import * as held from "../core/leases/held.ts";
import type { Transport } from "../rpc/types.ts";
import { leasesClient } from "./leases.ts";

export type HeldLease = held.HeldLease;

/** See core/leases/held.ts. */
export function beginLease(transport: Transport, call: NamespacedCall): Promise<HeldLease> {
  return held.beginLease(leasesClient(transport), call);
}

/** See core/leases/held.ts. */
export function withLease<T>(
  transport: Transport,
  call: NamespacedCall,
  work: (call: NamespacedCall) => Promise<T>,
): Promise<T> {
  return held.withLease(leasesClient(transport), call, work);
}
