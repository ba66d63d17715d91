/** CRI's RuntimeService, put together from groups of methods: a new group is one file and one line in `groups`. */
import { RuntimeService } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { ServerConfig } from "../../cri/config.ts";
import type { Cri } from "../../cri/cri.ts";
import { bindService, type ServiceBinding } from "../../rpc/types.ts";
import { containerMethods } from "./containers.ts";
import { eventMethods } from "./events.ts";
import { imageService } from "./image.ts";
import { listMethods } from "./list.ts";
import type { RuntimeMethods } from "./methods.ts";
import { podMethods } from "./pods.ts";
import { statsMethods } from "./stats.ts";
import { statusMethods } from "./status.ts";
import { streamingMethods } from "./streaming.ts";
import { updateMethods } from "./update.ts";

const groups: readonly ((cri: Cri, server: ServerConfig) => RuntimeMethods)[] = [
  statusMethods,
  listMethods,
  podMethods,
  containerMethods,
  updateMethods,
  statsMethods,
  eventMethods,
  streamingMethods,
];

/** Both services of CRI. A method that no group has answers `not-implemented`. */
export function criServices(cri: Cri, server: ServerConfig): ServiceBinding {
  const handlers: RuntimeMethods = Object.assign({}, ...groups.map((group) => group(cri, server)));
  return { ...bindService(RuntimeService, handlers), more: [imageService(cri)] };
}
