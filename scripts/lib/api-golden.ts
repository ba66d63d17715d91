/**
 * The API as a flat list of lines, made from the generated descriptors. One line per method, message field, reserved
 * number and enum value, sorted by name and number:
 *
 *     method containerd.services.content.v1.Content/Read (…ReadContentRequest) -> (stream …ReadContentResponse)
 *     message containerd.types.Descriptor
 *     field containerd.types.Descriptor 1 media_type string
 *     value containerd.v1.types.Status 2 RUNNING
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DescField, type DescFile, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";

function isFile(value: unknown): value is DescFile {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "file";
}

/** Imports every generated module below a folder and returns the file descriptors they export. */
export async function loadGenerated(dir: string): Promise<DescFile[]> {
  const files: DescFile[] = [];
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.name.endsWith("_pb.ts")) continue;
    const module: Record<string, unknown> = await import(
      pathToFileURL(join(entry.parentPath, entry.name)).href
    );
    files.push(...Object.values(module).filter(isFile));
  }
  return files;
}

function scalarName(type: ScalarType): string {
  return (ScalarType[type] ?? `scalar-${type}`).toLowerCase();
}

/** Type of a field as a definition file writes it, with full names. */
function typeOf(field: DescField): string {
  const element =
    field.message?.typeName ?? field.enum?.typeName ?? scalarName(field.scalar ?? ScalarType.BYTES);
  switch (field.fieldKind) {
    case "map":
      return `map<${scalarName(field.mapKey)},${element}>`;
    case "list":
      return `repeated ${element}`;
    default:
      return field.proto.proto3Optional ? `optional ${element}` : element;
  }
}

function messageLines(message: DescMessage): string[] {
  const fields = message.fields
    .toSorted((a, b) => a.number - b.number)
    .map((field) => {
      const choice = field.oneof === undefined ? "" : ` [oneof ${field.oneof.name}]`;
      const old = field.proto.options?.deprecated === true ? " [deprecated]" : "";
      return `field ${message.typeName} ${field.number} ${field.name} ${typeOf(field)}${choice}${old}`;
    });
  // The end of a reserved range is not part of it.
  const reserved = message.proto.reservedRange.flatMap((range) =>
    Array.from(
      { length: range.end - range.start },
      (_, i) => `reserved ${message.typeName} ${range.start + i}`,
    ),
  );
  return [`message ${message.typeName}`, ...fields, ...reserved];
}

/** All lines of the API the files describe. */
export function describeApi(files: readonly DescFile[]): string[] {
  const blocks = new Map<string, string[]>();
  for (const file of files) {
    for (const type of nestedTypes(file)) {
      switch (type.kind) {
        case "message":
          blocks.set(type.typeName, messageLines(type));
          break;
        case "enum":
          blocks.set(
            type.typeName,
            type.values
              .toSorted((a, b) => a.number - b.number)
              .map((v) => `value ${type.typeName} ${v.number} ${v.name}`),
          );
          break;
        case "service":
          blocks.set(
            type.typeName,
            type.methods
              .toSorted((a, b) => (a.name < b.name ? -1 : 1))
              .map((m) => {
                const kind = m.methodKind;
                const input = kind === "client_streaming" || kind === "bidi_streaming" ? "stream " : "";
                const output = kind === "server_streaming" || kind === "bidi_streaming" ? "stream " : "";
                return `method ${type.typeName}/${m.name} (${input}${m.input.typeName}) -> (${output}${m.output.typeName})`;
              }),
          );
          break;
        default:
          break;
      }
    }
  }
  return [...blocks.keys()].sort().flatMap((name) => blocks.get(name) ?? []);
}
