/** Which snapshotter a command means, and the label that holds one of its snapshots. */
import { namespacesClient } from "../../client/namespaces.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { Transport } from "../../rpc/types.ts";
import { textOf } from "./context.ts";

/** `--snapshotter`, else the namespace's default, else containerd's. */
export async function snapshotterName(
  transport: Transport,
  call: NamespacedCall,
  options: Readonly<Record<string, unknown>>,
): Promise<string> {
  const given = textOf(options, "snapshotter");
  if (given !== "") return given;
  const info = await namespacesClient(transport)
    .get(call, call.namespace)
    .catch(() => undefined);
  return info?.labels.get("containerd.io/defaults/snapshotter") ?? "overlayfs";
}

/** Keeps what has it against garbage collection; the value is a time nobody reads. */
export function rootLabel(): ReadonlyMap<string, string> {
  return new Map([["containerd.io/gc.root", new Date().toISOString().replace(/\.\d+Z$/, "Z")]]);
}
