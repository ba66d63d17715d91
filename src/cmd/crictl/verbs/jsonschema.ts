/** jsonschema: what can be in pod-config.json and container-config.json, made from the API this client was built with. */
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import {
  ContainerConfigSchema,
  KeyValueSchema,
  PodSandboxConfigSchema,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Json } from "../../../lib/yaml-emit.ts";
import type { Action } from "../command.ts";
import { on } from "../options.ts";

const print = (schema: DescMessage): void =>
  void process.stdout.write(`${JSON.stringify(jsonSchema(schema), undefined, 2)}\n`);

export const podSchema: Action = async () => {
  print(PodSandboxConfigSchema);
  return 0;
};

export const jsonschema: Action = async (_context, _args, options) => {
  const [pod, container] = [on(options, "pod"), on(options, "container")];
  if (pod || !container) print(PodSandboxConfigSchema);
  if (container || !pod) print(ContainerConfigSchema);
  return 0;
};

/** The schema of a message and of all it refers to. */
export function jsonSchema(root: DescMessage): Json {
  const definitions: Record<string, Json> = {};
  const define = (schema: DescMessage): Json => {
    if (!Object.hasOwn(definitions, schema.name)) {
      definitions[schema.name] = {};
      const properties = schema.fields.map(
        (field) => [field.name, fieldSchema(schema, field, define)] as const,
      );
      definitions[schema.name] = {
        type: "object",
        properties: Object.fromEntries(properties),
        additionalProperties: false,
      };
    }
    return { $ref: `#/$defs/${schema.name}` };
  };
  const reference = define(root) as { readonly [key: string]: Json };
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...reference, $defs: definitions };
}

/** protobuf's numbers of types that are not numbers. */
const [BOOL, STRING, BYTES] = [8, 9, 12];

function fieldSchema(schema: DescMessage, field: DescField, define: (schema: DescMessage) => Json): Json {
  const scalar = (type: number | undefined): Json => ({
    type: type === BOOL ? "boolean" : type === STRING || type === BYTES ? "string" : "integer",
  });
  switch (field.fieldKind) {
    case "message":
      return define(field.message);
    case "list":
      if (field.listKind === "message") return { type: "array", items: define(field.message) };
      return { type: "array", items: field.listKind === "enum" ? { type: "integer" } : scalar(field.scalar) };
    case "map":
      return { type: "object", additionalProperties: { type: "string" } };
    case "enum":
      return {
        type: "integer",
        enum: field.enum.values.map((value) => value.number),
        description: namesOf(field),
      };
    case "scalar":
      return schema.typeName === KeyValueSchema.typeName ? { type: "string" } : scalar(field.scalar);
  }
}

function namesOf(field: DescField & { fieldKind: "enum" }): string {
  return field.enum.values.map((value) => `${value.number}: ${value.name}`).join(", ");
}
