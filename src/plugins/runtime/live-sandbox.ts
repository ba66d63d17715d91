/** One sandbox that a shim implements, as the daemon holds it: the connection to its shim, and how it ended. */
import { Sandbox as SandboxApi } from "../../api/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { isDeadlineExceeded } from "../../core/errors.ts";
import type { SandboxExit } from "../../core/sandbox/sandbox.ts";
import { createDeferred, type Deferred } from "../../lib/deferred.ts";
import { createClient } from "../../rpc/client.ts";
import { callOptions } from "../../rpc/headers.ts";
import { createTtrpcTransport } from "../../rpc/ttrpc/transport.ts";
import type { Client, Transport } from "../../rpc/types.ts";
import type { Bundle, ShimAddress } from "./bundle.ts";
import type { ShimCommand } from "./resolve.ts";
import { shimApi } from "./shim-api.ts";
import { isListening } from "./shim-manager.ts";

/** See the file's comment. */
export interface LiveSandbox {
  readonly bundle: Bundle;
  readonly shim: ShimCommand;
  readonly address: ShimAddress;
  readonly transport: Transport;
  readonly api: Client<typeof SandboxApi>;
  /** Lives as long as the daemon. */
  readonly call: NamespacedCall;
  readonly ended: Deferred<SandboxExit>;
  /** Set by {@link settle}. */
  exit: SandboxExit | undefined;
}

/** A sandbox over a shim. Nothing is sent before the first call. */
export function connectSandbox(
  call: NamespacedCall,
  parts: Pick<LiveSandbox, "bundle" | "shim" | "address">,
): LiveSandbox {
  const transport = createTtrpcTransport({ path: parts.address.address });
  const ended = createDeferred<SandboxExit>();
  // nobody has to wait for it
  ended.promise.catch(() => {});
  return { ...parts, transport, api: createClient(SandboxApi, transport), call, ended, exit: undefined };
}

/** Notes how a sandbox ended; the first end counts. */
export function settle(live: LiveSandbox, exit: SandboxExit): void {
  if (live.exit !== undefined) return;
  live.exit = exit;
  live.ended.resolve(exit);
}

/** True when the shim is dead. One that listens and does not answer in `ms` is frozen or slow: it is watched, not given up. */
export async function isLost(live: LiveSandbox, ms: number): Promise<boolean> {
  try {
    await live.api.sandboxStatus({ sandboxId: live.bundle.id }, callOptions(live.call.within(ms)));
    return false;
  } catch (err) {
    return !isDeadlineExceeded(err) || !isListening(live.address.address);
  }
}

/** Ends a shim whose sandbox nobody has; also one that knows tasks only. Each of both calls gets `ms`. */
export async function endShim(live: LiveSandbox, ms: number): Promise<void> {
  const limited = (): ReturnType<typeof callOptions> => callOptions(live.call.detached(ms));
  const { id } = live.bundle;
  // a shim that knows neither answers with an error, one that ends with a closed connection: `delete` comes behind both
  await live.api.shutdownSandbox({ sandboxId: id }, limited()).catch(() => {});
  const tasks = shimApi(live.transport, live.address.version);
  await tasks.shutdown({ id, now: true }, limited()).catch(() => {});
  await live.transport.close();
}
