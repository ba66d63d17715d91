/**
 * Reads the descriptors embedded in generated code at program start. The protobuf library reads them by reflection over
 * descriptor.proto, for which it must first build the descriptor of that file: a quarter of what `ctr version` and the
 * start of the daemon cost. The build puts this reader in its place (see bundle.ts); only what the library's registry looks
 * at is read. Imports nothing: its text becomes part of another module.
 */

/** How a field is read: string, int32, bool, message; upper case: repeated. */
type Kind = "s" | "i" | "b" | "m" | "S" | "M";
type Field = readonly [number, string, Kind, (() => Shape)?];
interface Shape {
  readonly fields: ReadonlyMap<number, Field>;
  /** Prototype with the defaults of what may be absent; repeated fields start empty. */
  readonly defaults: object;
  readonly lists: readonly string[];
}

function shape(typeName: string, fields: readonly Field[]): Shape {
  const defaults: Record<string, unknown> = { $typeName: `google.protobuf.${typeName}` };
  for (const [, name, kind] of fields) {
    if (kind === "s") defaults[name] = "";
    else if (kind === "i") defaults[name] = name === "label" ? 1 : 0;
    else if (kind === "b") defaults[name] = false;
  }
  const lists = fields.filter(([, , kind]) => kind === "S" || kind === "M").map(([, name]) => name);
  return { fields: new Map(fields.map((field) => [field[0], field])), defaults, lists };
}

const options = (name: string, ...fields: readonly Field[]): (() => Shape) => {
  const made = shape(name, fields);
  return () => made;
};
const FIELD = shape("FieldDescriptorProto", [
  [1, "name", "s"],
  [2, "extendee", "s"],
  [3, "number", "i"],
  [4, "label", "i"],
  [5, "type", "i"],
  [6, "typeName", "s"],
  [7, "defaultValue", "s"],
  [
    8,
    "options",
    "m",
    options("FieldOptions", [2, "packed", "b"], [3, "deprecated", "b"], [6, "jstype", "i"]),
  ],
  [9, "oneofIndex", "i"],
  [10, "jsonName", "s"],
  [17, "proto3Optional", "b"],
]);
const ENUM = shape("EnumDescriptorProto", [
  [1, "name", "s"],
  [
    2,
    "value",
    "M",
    options(
      "EnumValueDescriptorProto",
      [1, "name", "s"],
      [2, "number", "i"],
      [3, "options", "m", options("EnumValueOptions", [1, "deprecated", "b"])],
    ),
  ],
  [3, "options", "m", options("EnumOptions", [3, "deprecated", "b"])],
]);
const MESSAGE: Shape = shape("DescriptorProto", [
  [1, "name", "s"],
  [2, "field", "M", () => FIELD],
  [3, "nestedType", "M", () => MESSAGE],
  [4, "enumType", "M", () => ENUM],
  [6, "extension", "M", () => FIELD],
  [7, "options", "m", options("MessageOptions", [3, "deprecated", "b"], [7, "mapEntry", "b"])],
  [8, "oneofDecl", "M", options("OneofDescriptorProto", [1, "name", "s"])],
]);
const METHOD = shape("MethodDescriptorProto", [
  [1, "name", "s"],
  [2, "inputType", "s"],
  [3, "outputType", "s"],
  [4, "options", "m", options("MethodOptions", [33, "deprecated", "b"], [34, "idempotencyLevel", "i"])],
  [5, "clientStreaming", "b"],
  [6, "serverStreaming", "b"],
]);
const SERVICE = shape("ServiceDescriptorProto", [
  [1, "name", "s"],
  [2, "method", "M", () => METHOD],
  [3, "options", "m", options("ServiceOptions", [33, "deprecated", "b"])],
]);
const FILE = shape("FileDescriptorProto", [
  [1, "name", "s"],
  [2, "package", "s"],
  [3, "dependency", "S"],
  [4, "messageType", "M", () => MESSAGE],
  [5, "enumType", "M", () => ENUM],
  [6, "service", "M", () => SERVICE],
  [7, "extension", "M", () => FIELD],
  [8, "options", "m", options("FileOptions", [23, "deprecated", "b"])],
  [12, "syntax", "s"],
  [14, "edition", "i"],
]);

/** Reads a serialized FileDescriptorProto. */
export function readFileDescriptor(bytes: Uint8Array): Record<string, unknown> {
  const text = new TextDecoder();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      if (shift < 35) value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const message = (of: Shape, end: number): Record<string, unknown> => {
    const out = Object.create(of.defaults) as Record<string, unknown>;
    for (const name of of.lists) out[name] = [];
    while (at < end) {
      const tag = varint();
      const field = of.fields.get(tag >>> 3);
      const wire = tag & 7;
      if (wire === 0) {
        const value = varint();
        if (field !== undefined) out[field[1]] = field[2] === "b" ? value !== 0 : value;
      } else if (wire === 2) {
        const length = varint();
        const stop = at + length;
        if (field !== undefined) {
          const [, name, kind, sub] = field;
          const value = sub === undefined ? text.decode(bytes.subarray(at, stop)) : message(sub(), stop);
          if (kind === "S" || kind === "M") (out[name] as unknown[]).push(value);
          else out[name] = value;
        }
        at = stop;
      } else at += wire === 1 ? 8 : 4;
    }
    return out;
  };
  return message(FILE, bytes.length);
}
