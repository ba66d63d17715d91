/** Events the engine publishes: containerd's topics with their payload types. */
import {
  create,
  type DescMessage,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
} from "../../api/gen/containerd/events/container_pb.ts";
import { ContentCreateSchema, ContentDeleteSchema } from "../../api/gen/containerd/events/content_pb.ts";
import {
  ImageCreateSchema,
  ImageDeleteSchema,
  ImageUpdateSchema,
} from "../../api/gen/containerd/events/image_pb.ts";
import {
  NamespaceCreateSchema,
  NamespaceDeleteSchema,
  NamespaceUpdateSchema,
} from "../../api/gen/containerd/events/namespace_pb.ts";
import {
  SandboxCreateSchema,
  SandboxExitSchema,
  SandboxStartSchema,
} from "../../api/gen/containerd/events/sandbox_pb.ts";
import {
  SnapshotCommitSchema,
  SnapshotPrepareSchema,
  SnapshotRemoveSchema,
} from "../../api/gen/containerd/events/snapshot_pb.ts";
import {
  TaskCheckpointedSchema,
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExecStartedSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from "../../api/gen/containerd/events/task_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import { type Adaptor, absent, type FieldValue } from "../../core/filters/filter.ts";

const SCHEMAS: ReadonlyMap<string, DescMessage> = new Map<string, DescMessage>([
  ["/containers/create", ContainerCreateSchema],
  ["/containers/update", ContainerUpdateSchema],
  ["/containers/delete", ContainerDeleteSchema],
  ["/content/create", ContentCreateSchema],
  ["/content/delete", ContentDeleteSchema],
  ["/images/create", ImageCreateSchema],
  ["/images/update", ImageUpdateSchema],
  ["/images/delete", ImageDeleteSchema],
  ["/namespaces/create", NamespaceCreateSchema],
  ["/namespaces/update", NamespaceUpdateSchema],
  ["/namespaces/delete", NamespaceDeleteSchema],
  ["/snapshot/prepare", SnapshotPrepareSchema],
  ["/snapshot/commit", SnapshotCommitSchema],
  ["/snapshot/remove", SnapshotRemoveSchema],
  ["/sandboxes/create", SandboxCreateSchema],
  ["/sandboxes/start", SandboxStartSchema],
  ["/sandboxes/exit", SandboxExitSchema],
  ["/tasks/create", TaskCreateSchema],
  ["/tasks/start", TaskStartSchema],
  ["/tasks/exit", TaskExitSchema],
  ["/tasks/delete", TaskDeleteSchema],
  ["/tasks/oom", TaskOOMSchema],
  ["/tasks/exec-added", TaskExecAddedSchema],
  ["/tasks/exec-started", TaskExecStartedSchema],
  ["/tasks/paused", TaskPausedSchema],
  ["/tasks/resumed", TaskResumedSchema],
  ["/tasks/checkpointed", TaskCheckpointedSchema],
]);

const BY_NAME: ReadonlyMap<string, DescMessage> = new Map(
  [...SCHEMAS.values()].map((desc) => [desc.typeName, desc]),
);

/** Packs a plain record as the payload of `topic`. @throws invalid-argument for a topic that is not in the table */
export function encodeEvent(topic: string, payload: Readonly<Record<string, unknown>>): AnyValue {
  const desc = SCHEMAS.get(topic);
  if (desc === undefined) throw invalidArgument(`event topic "${topic}" has no payload type`);
  const message = create(desc, payload as MessageInitShape<typeof desc>);
  return { typeUrl: desc.typeName, value: toBinary(desc, message) };
}

/** Fields of a payload for filters, decoded when first asked for; unknown types have none. */
export function adaptEvent(event: AnyValue): Adaptor {
  let decoded: { desc: DescMessage; message: Message } | undefined | null;
  return (path) => {
    if (decoded === undefined) decoded = decode(event) ?? null;
    return decoded === null ? absent : fieldOf(decoded.desc, decoded.message, path);
  };
}

function decode(event: AnyValue): { desc: DescMessage; message: Message } | undefined {
  const desc = BY_NAME.get(event.typeUrl.slice(event.typeUrl.lastIndexOf("/") + 1));
  if (desc === undefined) return undefined;
  try {
    return { desc, message: fromBinary(desc, event.value) };
  } catch {
    return undefined;
  }
}

/** An entry of a decoded map; everything in `path` is the key. */
function entryOf(map: Readonly<Record<string, unknown>>, path: readonly string[]): FieldValue {
  const key = path.join(".");
  const value = Object.hasOwn(map, key) ? map[key] : undefined;
  return typeof value === "string" ? { value, present: true } : absent;
}

/** A field by its protobuf names: text, numbers, maps of text, and fields of messages in it. */
function fieldOf(desc: DescMessage, message: Message, path: readonly string[]): FieldValue {
  const [name, ...rest] = path;
  const field = desc.fields.find((f) => f.name === name);
  if (field === undefined) return absent;
  const value = (message as unknown as Readonly<Record<string, unknown>>)[field.localName];
  if (value === undefined) return absent;
  switch (field.fieldKind) {
    case "scalar": {
      if (value instanceof Uint8Array) return absent;
      const shown = String(value);
      return { value: shown, present: shown !== "" && shown !== "0" && shown !== "false" };
    }
    case "map":
      return entryOf(value as Readonly<Record<string, unknown>>, rest);
    case "message":
      return fieldOf(field.message, value as Message, rest);
    default:
      return absent;
  }
}
