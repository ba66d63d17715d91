/** The task API of one shim, version 2 or 3 alike: their messages are equal, only the package name differs. */
import { Task as TaskV2 } from "../../api/gen/containerd/runtime/task/v2/shim_pb.ts";
import { Task as TaskV3 } from "../../api/gen/containerd/runtime/task/v3/shim_pb.ts";
import { createClient } from "../../rpc/client.ts";
import type { Client, Transport } from "../../rpc/types.ts";

/** Client of a shim's task service. */
export type ShimApi = Client<typeof TaskV3>;

/** Newest version of the task API spoken here. */
export const MAX_VERSION = 3;

/** Makes the client for the API version a shim answered. */
export function shimApi(transport: Transport, version: number): ShimApi {
  // the two services have the same methods and messages; the transport takes the service name from the descriptor
  const service = version >= 3 ? TaskV3 : (TaskV2 as unknown as typeof TaskV3);
  return createClient(service, transport);
}
