/** Pod and container configurations from JSON or YAML files: field names as in CRI (snake case), values as people write them. */
import { readFileSync } from "node:fs";
import {
  create,
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  KeyValueSchema,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxMetadataSchema,
} from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { type GantryError, invalidArgument, messageOf, notFound } from "../../core/errors.ts";

/** @throws invalid-argument, not-found */
export async function loadPodConfig(path: string): Promise<PodSandboxConfig> {
  const config = await load(PodSandboxConfigSchema, path);
  const { metadata } = config;
  if (metadata === undefined) throw wrong(path, "metadata is not set");
  if (metadata.name === "" || metadata.namespace === "")
    throw wrong(
      path,
      "metadata has no name or no namespace",
      "metadata: {name: web, namespace: default, uid: abc}",
    );
  if (metadata.uid === "")
    config.metadata = create(PodSandboxMetadataSchema, { ...metadata, uid: crypto.randomUUID() });
  return config;
}

/** @throws invalid-argument, not-found */
export async function loadContainerConfig(path: string): Promise<ContainerConfig> {
  const config = await load(ContainerConfigSchema, path);
  if (config.metadata === undefined) throw wrong(path, "metadata is not set");
  if (config.metadata.name === "") throw wrong(path, "metadata has no name", "metadata: {name: web}");
  if (config.image === undefined || config.image.image === "")
    throw wrong(path, "image is not set", "image: {image: busybox}");
  return config;
}

function wrong(path: string, what: string, example?: string): GantryError {
  return invalidArgument(
    `load config "${path}": ${what}`,
    example === undefined ? {} : { hint: `for example ${example}` },
  );
}

async function load<D extends DescMessage>(schema: D, path: string): Promise<MessageShape<D>> {
  let source: string;
  try {
    source = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (err) {
    if (err instanceof Error && "code" in err && err.code === "ENOENT")
      throw notFound(`load config: config at ${path} not found`, { cause: err });
    throw wrong(path, messageOf(err));
  }
  let value: unknown;
  try {
    value = /^\s*\{/.test(source) && !source.includes("\n#") ? parseJson(source) : undefined;
    value ??= (await import("yaml")).parse(source);
  } catch (err) {
    throw wrong(path, messageOf(err));
  }
  const unknown: string[] = [];
  try {
    const json = message(schema, value ?? {}, "", unknown);
    if (unknown.length > 0)
      process.stderr.write(`crictl: ${path}: ignored unknown fields: ${unknown.join(", ")}\n`);
    return fromJson(schema, json, { ignoreUnknownFields: true });
  } catch (err) {
    throw wrong(path, messageOf(err), undefined);
  }
}

/** JSON, or undefined when it is not (flow style YAML starts alike). */
function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}

/** Turns what people write into protobuf's JSON. */
function message(schema: DescMessage, value: unknown, path: string, unknown: string[]): JsonValue {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`${path === "" ? "file" : `field "${path}"`}: want a map, not ${kindOf(value)}`);
  const out: Record<string, JsonValue> = {};
  for (const [key, item] of Object.entries(value)) {
    const at = path === "" ? key : `${path}.${key}`;
    const field = schema.fields.find((f) => f.name === key || f.jsonName === key) ?? loose(schema, key);
    if (field === undefined) unknown.push(at);
    else if (item !== null && item !== undefined)
      out[field.jsonName] = fieldValue(schema, field, item, at, unknown);
  }
  return out;
}

const loose = (schema: DescMessage, key: string): DescField | undefined =>
  schema.fields.find((f) => f.name.toLowerCase() === key.toLowerCase());

function fieldValue(
  schema: DescMessage,
  field: DescField,
  value: unknown,
  path: string,
  unknown: string[],
): JsonValue {
  switch (field.fieldKind) {
    case "message":
      return message(field.message, value, path, unknown);
    case "list": {
      if (!Array.isArray(value)) throw invalidArgument(`field "${path}": want a list, not ${kindOf(value)}`);
      return value.map((item: unknown, i) => {
        const at = `${path}[${i}]`;
        if (field.listKind === "message") return message(field.message, item, at, unknown);
        return field.listKind === "scalar" ? scalar(field.scalar === STRING, item) : choice(field, item, at);
      });
    }
    case "map": {
      if (typeof value !== "object" || value === null || Array.isArray(value))
        throw invalidArgument(`field "${path}": want a map, not ${kindOf(value)}`);
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, scalar(true, v ?? "")]));
    }
    case "enum":
      return choice(field, value, path);
    case "scalar":
      // the value of an environment variable is written as text
      if (schema.typeName === KeyValueSchema.typeName && field.name === "value")
        return Buffer.from(String(value)).toString("base64");
      return scalar(field.scalar === STRING, value);
  }
}

/** protobuf's number of the type string. */
const STRING = 9;

function scalar(wantsText: boolean, value: unknown): JsonValue {
  return wantsText && typeof value !== "object" ? String(value) : (value as JsonValue);
}

/** A name of an enum, in any case, or its number. */
function choice(field: DescField, value: unknown, path: string): JsonValue {
  if (typeof value === "number" || field.enum === undefined) return value as JsonValue;
  const found = field.enum.values.find((v) => v.name.toLowerCase() === String(value).toLowerCase());
  if (found !== undefined) return found.number;
  const names = field.enum.values.map((v) => `${v.number} (${v.name})`);
  throw invalidArgument(
    `field "${path}": "${String(value)}" is not one of ${names.slice(0, 8).join(", ")}${names.length > 8 ? ", ..." : ""}`,
  );
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  return Array.isArray(value)
    ? "a list"
    : typeof value === "object"
      ? "a map"
      : `the ${typeof value} ${String(value)}`;
}
