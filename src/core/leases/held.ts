/** Holds what is being made until something refers to it: a lease for the length of one piece of work. */
import { formatRfc3339, nowNs, SECOND } from "../../lib/time.ts";
import type { NamespacedCall } from "../call.ts";
import type { LeaseManager } from "./leases.ts";

/** A lease whose holder died ends by itself after so long, in nanoseconds: containerd's clients use a day. */
const EXPIRES = 24n * 3600n * SECOND;
/** Time the removal of a lease may take, in milliseconds. */
const CLEANUP_MS = 10_000;

/** A lease that was begun. */
export interface HeldLease {
  /** The call with the lease. */
  readonly call: NamespacedCall;
  /** Ends the lease. Never rejects: a lease that stays expires. */
  end(): Promise<void>;
}

/** The label that ends a lease `life` nanoseconds from now. */
export function expiresIn(life: bigint): [string, string] {
  return ["containerd.io/gc.expire", formatRfc3339(((nowNs() + life) / SECOND) * SECOND)];
}

/** Makes a lease, or uses the call's own, which its owner ends. */
export async function beginLease(leases: LeaseManager, call: NamespacedCall): Promise<HeldLease> {
  if (call.lease !== undefined && call.lease !== "") return { call, end: async () => {} };
  const { id } = await leases.create(call, "", new Map([expiresIn(EXPIRES)]));
  return {
    call: call.with({ lease: id }).in(call.namespace),
    end: () =>
      leases
        .delete(call.detached(CLEANUP_MS), id)
        .catch((err: unknown) => call.log.warn("lease was not deleted", { lease: id, err })),
  };
}

/** Runs `work` with a call that carries a fresh lease, or the call's own; the fresh one ends with it (R9). */
export async function withLease<T>(
  leases: LeaseManager,
  call: NamespacedCall,
  work: (leased: NamespacedCall) => Promise<T>,
): Promise<T> {
  const lease = await beginLease(leases, call);
  try {
    return await work(lease.call);
  } finally {
    await lease.end();
  }
}
