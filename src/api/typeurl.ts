/**
 * Type URLs as containerd writes them in `google.protobuf.Any`.
 *
 * - A protobuf message has its full name and nothing before it: `containerd.events.TaskStart`. Other programs may put a
 *   prefix such as `type.googleapis.com/` before the name; reading accepts any prefix, writing never adds one.
 * - A Go struct travels as JSON. Its type URL is a registered path, see {@link RuntimeSpecUrl}.
 *
 * The functions take anything shaped like an Any, so both the generated message and the core's own type fit.
 */
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";

/** The two fields of an Any. */
export interface AnyLike {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** Type URLs of the types of the OCI runtime specification; their values are JSON. */
export const RuntimeSpecUrl = {
  spec: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
  process: "types.containerd.io/opencontainers/runtime-spec/1/Process",
  linuxResources: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
  windowsResources: "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources",
  features: "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
} as const;

/** Packs a message under its plain full name. */
export function packAny<Desc extends DescMessage>(desc: Desc, message: MessageShape<Desc>): Any {
  return create(AnySchema, { typeUrl: desc.typeName, value: toBinary(desc, message) });
}

/**
 * The message in an Any, or undefined when there is no Any or it holds another type. Throws when the type is right and
 * the bytes are not such a message.
 */
export function unpackAny<Desc extends DescMessage>(
  any: AnyLike | undefined,
  desc: Desc,
): MessageShape<Desc> | undefined {
  return any !== undefined && isTypeUrl(any, desc.typeName) ? fromBinary(desc, any.value) : undefined;
}

/**
 * Whether an Any holds the named type: a full message name, or a whole type URL such as those of
 * {@link RuntimeSpecUrl}. A message name also matches with any prefix that ends in a slash before it.
 */
export function isTypeUrl(any: AnyLike, name: string): boolean {
  const url = any.typeUrl;
  if (url === name) return name !== "";
  return !name.includes("/") && name !== "" && url.slice(url.lastIndexOf("/") + 1) === name;
}

/** Packs a value as JSON under a type URL, as containerd does for Go structs. Undefined and bigint are not JSON. */
export function packJsonAny(typeUrl: string, value: unknown): Any {
  return create(AnySchema, { typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) });
}
