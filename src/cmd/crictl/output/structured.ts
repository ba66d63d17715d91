/** JSON, YAML and templates. Loaded when one of them is asked for: what it needs takes longer to load than a table to print. */
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import { invalidArgument, messageOf } from "../../../core/errors.ts";
import type { Json } from "../../../lib/yaml-emit.ts";

/** A message as JSON in the protobuf mapping: camel case, 64-bit numbers as text, fields with default values, too. */
export function messageJson<D extends DescMessage>(schema: D, message: MessageShape<D>): Json {
  return toJson(schema, message, { alwaysEmitImplicit: true }) as Json;
}

/** Writes a list, or an event. */
export async function writeValue(
  value: Json,
  format: "json" | "yaml" | "go-template",
  template = "",
): Promise<void> {
  process.stdout.write(await render(value, format, template));
}

async function render(
  value: Json,
  format: "json" | "yaml" | "go-template",
  template: string,
): Promise<string> {
  switch (format) {
    case "json":
      return `${JSON.stringify(value, undefined, 2)}\n`;
    case "yaml":
      return (await import("../../../lib/yaml-emit.ts")).emitYaml(value);
    case "go-template":
      return `${await execute(template, value)}\n`;
  }
}

async function execute(template: string, value: Json): Promise<string> {
  const { compileTemplate } = await import("../../../lib/go-template/template.ts");
  try {
    return compileTemplate(template).execute(value);
  } catch (err) {
    throw invalidArgument(`execute template: ${messageOf(err)}`, {
      cause: err,
      hint: "crictl ... -o json shows which fields there are",
    });
  }
}

/** @throws invalid-argument when the template cannot be parsed */
export async function checkTemplate(template: string): Promise<void> {
  const { compileTemplate } = await import("../../../lib/go-template/template.ts");
  try {
    compileTemplate(template);
  } catch (err) {
    throw invalidArgument(`failed to parse go-template: ${messageOf(err)}`, { cause: err });
  }
}

/** A status with the verbose information beside it. */
export interface StatusData {
  readonly status: Json;
  readonly info?: Readonly<Record<string, string>>;
  /** More at the top: runtimeHandlers, features. */
  readonly more?: { readonly [key: string]: Json };
}

/** Writes statuses with sorted keys: one as it is, several as a list. */
export async function writeStatuses(
  statuses: readonly StatusData[],
  format: "json" | "yaml" | "go-template",
  template: string,
): Promise<void> {
  if (statuses.length === 0) return;
  const all = statuses.map(({ status, info = {}, more = {} }) => {
    const expanded = Object.entries(info).map(([key, value]) => [key, infoValue(key, value)] as const);
    return sorted({ status, ...more, ...Object.fromEntries(expanded) });
  });
  const [first = null] = all;
  await writeValue(all.length === 1 ? first : all, format, template);
}

/** A value of the verbose information: JSON objects are opened, everything else is text. */
function infoValue(key: string, value: string): Json {
  if (!value.startsWith("{")) return value.replace(/^"+|"+$/g, "");
  try {
    return JSON.parse(value) as Json;
  } catch (err) {
    throw invalidArgument(`read status info "${key}": ${messageOf(err)}`, { cause: err });
  }
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const map = value as { readonly [key: string]: Json };
  return Object.fromEntries(
    Object.keys(map)
      .sort()
      .map((key) => [key, sorted(map[key] ?? null)]),
  );
}
