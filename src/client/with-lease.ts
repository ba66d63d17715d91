/** Holds what a client makes until it is referenced: a lease for the length of one piece of work. */
import type { NamespacedCall } from "../core/call.ts";
import { formatRfc3339, nowNs } from "../lib/time.ts";
import type { Transport } from "../rpc/types.ts";
import { leasesClient } from "./leases.ts";

/** A lease whose holder died ends by itself after so long: containerd's clients use a day. */
const EXPIRES = 24n * 3600n * 1_000_000_000n;
/** Time the removal of the lease may take. Milliseconds. */
const CLEANUP_MS = 10_000;

/** Runs `work` with a call that carries a fresh lease; the lease ends with it. */
export async function withLease<T>(
  transport: Transport,
  call: NamespacedCall,
  work: (call: NamespacedCall) => Promise<T>,
): Promise<T> {
  if (call.lease !== undefined) return await work(call);
  const leases = leasesClient(transport);
  const lease = await leases.create(
    call,
    "",
    new Map([["containerd.io/gc.expire", formatRfc3339(nowNs() + EXPIRES)]]),
  );
  try {
    return await work(call.with({ lease: lease.id }) as NamespacedCall);
  } finally {
    await leases.delete(call.detached(CLEANUP_MS), lease.id).catch(() => {
      // it expires
    });
  }
}
