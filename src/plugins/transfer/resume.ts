/** What an interrupted pull has received stays for a while: the next pull of the same name goes on from there. */
import { createHash } from "node:crypto";
import type { NamespacedCall } from "../../core/call.ts";
import {
  isAlreadyExists,
  isCanceled,
  isDeadlineExceeded,
  isNotFound,
  isUnavailable,
} from "../../core/errors.ts";
import { expiresIn } from "../../core/leases/held.ts";
import { SECOND } from "../../lib/time.ts";
import type { TransferContext } from "./context.ts";

/** How long the bytes stay, in nanoseconds. */
const LIFE = 3600n * SECOND;
/** Time that keeping them may take, in milliseconds: the pull has ended by then. */
const KEEP_MS = 10_000;

/** Lease that keeps what pulls of `name` left. */
function leaseId(name: string): string {
  return `resume-${createHash("sha256").update(name).digest("hex").slice(0, 24)}`;
}

/** True for ends that say nothing against the bytes: cancelled, out of time, the registry went away. */
export function isInterruption(err: unknown): boolean {
  return isCanceled(err) || isDeadlineExceeded(err) || isUnavailable(err);
}

/** Keeps the blobs and half blobs that the lease of `leased` holds. Never rejects. */
export async function keepReceived(
  ctx: TransferContext,
  leased: NamespacedCall,
  name: string,
): Promise<void> {
  const { leases } = ctx.stores;
  const { lease } = leased;
  if (lease === undefined || lease === "") return;
  // Without the lease of the pull: what is made here must outlive it.
  const call = leased.detached(KEEP_MS).with({ lease: undefined }).in(leased.namespace);
  try {
    const held = (await leases.listResources(call, lease)).filter(
      ({ type }) => type === "content" || type === "ingests",
    );
    if (held.length === 0) return;
    const id = leaseId(name);
    const labels = new Map([expiresIn(LIFE), ["gantry.io/interrupted-pull", name.slice(0, 1024)]]);
    await leases.create(call, id, labels).catch(async (err: unknown) => {
      if (!isAlreadyExists(err)) throw err;
      await leases.delete(call, id);
      await leases.create(call, id, labels);
    });
    for (const resource of held)
      await leases.addResource(call, id, resource).catch((err: unknown) => {
        if (!isNotFound(err)) throw err;
      });
  } catch (err) {
    leased.log.warn("bytes of an interrupted pull are not kept", { image: name, err });
  }
}

/** The pull came to its end: nothing has to be kept for another. Never rejects. */
export async function dropReceived(ctx: TransferContext, call: NamespacedCall, name: string): Promise<void> {
  // most pulls have none; one that stays expires
  await ctx.stores.leases.delete(call.detached(KEEP_MS), leaseId(name)).catch(() => {});
}
