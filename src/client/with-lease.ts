/** Holds what a client makes until it is referenced: a lease for the length of one piece of work. */
import type { NamespacedCall } from "../core/call.ts";
import { formatRfc3339, nowNs } from "../lib/time.ts";
import type { Transport } from "../rpc/types.ts";
import { leasesClient } from "./leases.ts";

/** A lease whose holder died ends by itself after so long: containerd's clients use a day. */
const EXPIRES = 24n * 3600n * 1_000_000_000n;
/** Time the removal of the lease may take. Milliseconds. */
const CLEANUP_MS = 10_000;

/** A lease that was begun. */
export interface HeldLease {
  /** The call with the lease. */
  readonly call: NamespacedCall;
  /** Ends the lease. Never rejects: a lease that stays expires. */
  end(): Promise<void>;
}

/** Makes a lease, or uses the call's own. */
export async function beginLease(transport: Transport, call: NamespacedCall): Promise<HeldLease> {
  if (call.lease !== undefined) return { call, end: async () => {} };
  const leases = leasesClient(transport);
  const lease = await leases.create(
    call,
    "",
    new Map([["containerd.io/gc.expire", formatRfc3339(nowNs() + EXPIRES)]]),
  );
  return {
    call: call.with({ lease: lease.id }) as NamespacedCall,
    end: () => leases.delete(call.detached(CLEANUP_MS), lease.id).catch(() => {}),
  };
}

/** Runs `work` with a call that carries a fresh lease; the lease ends with it. */
export async function withLease<T>(
  transport: Transport,
  call: NamespacedCall,
  work: (call: NamespacedCall) => Promise<T>,
): Promise<T> {
  const lease = await beginLease(transport, call);
  try {
    return await work(lease.call);
  } finally {
    await lease.end();
  }
}
