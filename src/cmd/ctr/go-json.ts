/**
 * Messages as JSON the way containerd's ctr prints them (Go's encoding/json on generated structs): names of the .proto file, in its order,
 * without what is empty or zero, 64-bit numbers as numbers.
 */
import type { DescField, DescMessage, MessageShape } from "@bufbuild/protobuf";

/** The text of a message, indented by `indent` spaces, without a line end. */
export function goJson<D extends DescMessage>(schema: D, message: MessageShape<D>, indent = 2): string {
  return object(schema, message as unknown as Fields, " ".repeat(indent), "");
}

type Fields = Readonly<Record<string, unknown>>;

function object(schema: DescMessage, fields: Fields, step: string, margin: string): string {
  const inner = margin + step;
  const lines = schema.fields.flatMap((field) => {
    const value = fields[field.localName];
    return isEmpty(value)
      ? []
      : [`${inner}${JSON.stringify(field.name)}: ${text(field, value, step, inner)}`];
  });
  return lines.length === 0 ? "{}" : `{\n${lines.join(",\n")}\n${margin}}`;
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value) || value instanceof Uint8Array) return value.length === 0;
  return value === undefined || value === 0 || value === 0n || value === "" || value === false;
}

function text(field: DescField, value: unknown, step: string, margin: string): string {
  if (field.fieldKind === "list" && Array.isArray(value)) {
    const inner = margin + step;
    const items = value.map((item) => inner + single(field.message, item, step, inner));
    return `[\n${items.join(",\n")}\n${margin}]`;
  }
  if (field.fieldKind === "map") {
    const inner = margin + step;
    const entries = Object.entries(value as Fields).sort(([a], [b]) => (a < b ? -1 : 1));
    const items = entries.map(
      ([key, item]) => `${inner}${JSON.stringify(key)}: ${single(field.message, item, step, inner)}`,
    );
    return items.length === 0 ? "{}" : `{\n${items.join(",\n")}\n${margin}}`;
  }
  return single(field.message, value, step, margin);
}

function single(schema: DescMessage | undefined, value: unknown, step: string, margin: string): string {
  if (schema !== undefined) return object(schema, value as Fields, step, margin);
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("base64"));
  return JSON.stringify(value);
}
