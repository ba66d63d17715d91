/** Decodes event payloads for people: JSON of the message, as containerd's ctr prints it. */
import { createRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { file_containerd_events_container } from "../../api/gen/containerd/events/container_pb.ts";
import { file_containerd_events_content } from "../../api/gen/containerd/events/content_pb.ts";
import { file_containerd_events_image } from "../../api/gen/containerd/events/image_pb.ts";
import { file_containerd_events_namespace } from "../../api/gen/containerd/events/namespace_pb.ts";
import { file_containerd_events_sandbox } from "../../api/gen/containerd/events/sandbox_pb.ts";
import { file_containerd_events_snapshot } from "../../api/gen/containerd/events/snapshot_pb.ts";
import { file_containerd_events_task } from "../../api/gen/containerd/events/task_pb.ts";
import { file_containerd_types_runc_options_oci } from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import type { AnyValue } from "../../core/any.ts";

const registry = createRegistry(
  file_containerd_events_container,
  file_containerd_events_content,
  file_containerd_events_image,
  file_containerd_events_namespace,
  file_containerd_events_sandbox,
  file_containerd_events_snapshot,
  file_containerd_events_task,
  file_containerd_types_runc_options_oci,
);

/** JSON text; the type name for a payload of an unknown type. */
export function decodeEvent(event: AnyValue): string {
  const name = event.typeUrl.slice(event.typeUrl.lastIndexOf("/") + 1);
  const desc = registry.getMessage(name);
  if (desc === undefined) return JSON.stringify({ type_url: event.typeUrl, bytes: event.value.length });
  return JSON.stringify(toJson(desc, fromBinary(desc, event.value), { registry, useProtoFieldName: true }));
}
