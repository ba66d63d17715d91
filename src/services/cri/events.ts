/** GetContainerEvents. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerEventResponseSchema,
  ContainerEventType,
} from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Cri } from "../../cri/cri.ts";
import { EventFanout } from "../../cri/events/events.ts";
import type { CriEvent } from "../../cri/model.ts";
import { toContainerStatus, toPodStatus } from "./convert.ts";
import type { RuntimeMethods } from "./methods.ts";

type EventInit = MessageInitShape<typeof ContainerEventResponseSchema>;

const KINDS = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
} as const;

export function eventMethods(cri: Cri): RuntimeMethods {
  const dropped = cri.registry.counter(
    "containerd_cri_container_events_dropped_total",
    "container events that nobody read in time",
  );
  const fanout = new EventFanout<EventInit>(cri.deps.log, (count) => dropped.add(count));
  cri.store.onEvent((event) => fanout.publish(toEvent(cri, event)));
  return {
    async *getContainerEvents(_r, { call }) {
      yield* fanout.read(call.signal);
    },
  };
}

/** The event with the state of its pod as it is now. */
function toEvent(cri: Cri, event: CriEvent): EventInit {
  const pod = cri.store.findPod(event.podId);
  return {
    containerId: event.containerId,
    containerEventType: KINDS[event.kind],
    createdAt: event.at,
    ...(pod === undefined ? {} : { podSandboxStatus: toPodStatus(pod) }),
    containersStatuses: cri.store.containers(event.podId).map(toContainerStatus),
  };
}
