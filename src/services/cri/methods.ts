import type { RuntimeService } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { ServiceHandlers } from "../../rpc/types.ts";

/** Some methods of CRI's RuntimeService. */
export type RuntimeMethods = ServiceHandlers<typeof RuntimeService>;
