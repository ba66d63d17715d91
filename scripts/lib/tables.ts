/** Writes the modules that the build puts in the place of generated code: src/api/tables.ts says what they are. */
import { globSync } from "node:fs";
import { join } from "node:path";
import type { DescEnum, DescField, DescFile, DescMessage, DescService } from "@bufbuild/protobuf";
import { ROOT } from "./compile.ts";

type Desc = DescFile | DescMessage | DescEnum | DescService;

/** Name under which the library's own types are imported. */
export const WKT = "@bufbuild/protobuf/wkt";
/** Files of the library's own types that have a table; using another one makes the build fail. */
const WKT_FILES = ["any", "empty", "field_mask", "timestamp"].map((name) => `google/protobuf/${name}`);

/** Every module, by path (or {@link WKT}). */
export interface Modules {
  readonly exports: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  /** Where a type is exported, by its full name. */
  readonly places: ReadonlyMap<string, { readonly module: string; readonly name: string }>;
}

/** Loads the generated modules and the library's. */
export async function loadModules(): Promise<Modules> {
  const exports = new Map<string, Readonly<Record<string, unknown>>>();
  for (const name of globSync("src/api/gen/**/*_pb.ts", { cwd: ROOT })) {
    const path = join(ROOT, name);
    exports.set(path, (await import(path)) as Record<string, unknown>);
  }
  const wkt = Object.entries((await import(WKT)) as Record<string, unknown>);
  exports.set(
    WKT,
    Object.fromEntries(wkt.filter(([, value]) => isDesc(value) && WKT_FILES.includes(fileOf(value)))),
  );
  const places = new Map<string, { module: string; name: string }>();
  for (const [module, found] of exports)
    for (const [name, value] of Object.entries(found))
      if (isDesc(value) && value.kind !== "file") places.set(value.typeName, { module, name });
  return { exports, places };
}

function isDesc(value: unknown): value is Desc {
  return (
    typeof value === "object" &&
    value !== null &&
    "kind" in value &&
    ["file", "message", "enum", "service"].includes(String(value.kind))
  );
}

const fileOf = (desc: Desc): string => (desc.kind === "file" ? desc.name : desc.file.name);

/** Source of the module in the place of `path`. `runtime` is the path of src/api/tables.ts. */
export function tableModule(modules: Modules, path: string, runtime: string): string {
  const found = modules.exports.get(path);
  if (found === undefined) throw new Error(`write tables of "${path}": no such generated module`);
  const imports = new Map<string, string>();
  const ref = (typeName: string): string => {
    const place = modules.places.get(typeName);
    if (place === undefined) throw new Error(`write tables of "${path}": type ${typeName} is not exported`);
    if (place.module === path) return place.name;
    const alias = `r${imports.size}`;
    const line = `import { ${place.name} as ALIAS } from ${JSON.stringify(place.module)};`;
    const known = imports.get(line);
    if (known === undefined) imports.set(line, alias);
    return known ?? alias;
  };
  const lines = Object.entries(found).map(([name, value]) => {
    if (isDesc(value)) return `export const ${name} = /*@__PURE__*/ ${descText(value, ref)};`;
    if (typeof value === "object" && value !== null)
      return `export const ${name} = ${JSON.stringify(value)};`;
    throw new Error(`write tables of "${path}": export "${name}" is neither descriptor nor enum`);
  });
  const head = [...imports].map(([line, alias]) => line.replace("ALIAS", alias));
  return [`import { E, F, M, S } from ${JSON.stringify(runtime)};`, ...head, ...lines, ""].join("\n");
}

function descText(desc: Desc, ref: (typeName: string) => string): string {
  const list = (all: readonly { readonly typeName: string }[]): string =>
    `[${all.map((one) => ref(one.typeName)).join(", ")}]`;
  const text = JSON.stringify;
  switch (desc.kind) {
    case "file": {
      const [messages, enums, services] = [desc.messages, desc.enums, desc.services].map(list);
      return `F(${text(desc.name)}, () => ${messages}, () => ${enums}, () => ${services})`;
    }
    case "enum": {
      const rows = desc.values.map((v) => [v.name, v.number, v.localName]);
      return `E(${text(desc.typeName)}, ${text(rows)}, ${text(desc.sharedPrefix)})`;
    }
    case "service": {
      const rows = desc.methods.map((m) => {
        const kind = ["unary", "server_streaming", "client_streaming", "bidi_streaming"].indexOf(
          m.methodKind,
        );
        const types = [m.input, m.output].map((type) => `() => ${ref(type.typeName)}`).join(", ");
        return `[${text(m.name)}, ${text(m.localName)}, ${kind}, ${types}]`;
      });
      return `S(${text(desc.typeName)}, [${rows.join(", ")}])`;
    }
    case "message": {
      const rows = desc.fields.map((field) => rowText(desc, field, ref));
      const oneofs = desc.oneofs.map((o) => [o.name, o.localName]);
      const nested = [...desc.nestedMessages, ...desc.nestedEnums];
      const rest =
        nested.length > 0
          ? `, ${text(oneofs)}, () => ${list(nested)}`
          : oneofs.length > 0
            ? `, ${text(oneofs)}`
            : "";
      return `M(${text(desc.typeName)}, () => [${rows.join(", ")}]${rest})`;
    }
  }
}

function rowText(message: DescMessage, field: DescField, ref: (typeName: string) => string): string {
  const { number, name, localName, jsonName, oneof } = field;
  const extra = {
    ...(localName === name ? {} : { l: localName }),
    ...(jsonName === localName ? {} : { j: jsonName }),
    ...(oneof === undefined ? {} : { o: message.oneofs.indexOf(oneof) }),
    ...(field.presence === usualPresence(field) ? {} : { p: field.presence }),
  };
  const parts = [String(number), JSON.stringify(name), ...typeParts(field, ref)];
  if (Object.keys(extra).length > 0) parts.push(JSON.stringify(extra));
  return `[${parts.join(", ")}]`;
}

const usualPresence = (field: DescField): number =>
  field.oneof !== undefined || field.fieldKind === "message" ? 1 : 2;

function typeParts(field: DescField, ref: (typeName: string) => string): string[] {
  const refOf = (type: { readonly typeName: string } | undefined): string => ref(type?.typeName ?? "");
  switch (field.fieldKind) {
    case "scalar":
      return ['"s"', String(field.scalar), "0"];
    case "enum":
      return ['"e"', "0", refOf(field.enum)];
    case "message":
      return ['"m"', "0", refOf(field.message)];
    case "list":
      if (field.listKind === "scalar") return ['"ls"', String(field.scalar), "0"];
      return field.listKind === "enum"
        ? ['"le"', "0", refOf(field.enum)]
        : ['"lm"', "0", refOf(field.message)];
    case "map":
      if (field.mapKind === "scalar") return ['"ks"', String(field.mapKey), String(field.scalar)];
      return [
        field.mapKind === "enum" ? '"ke"' : '"km"',
        String(field.mapKey),
        refOf(field.mapKind === "enum" ? field.enum : field.message),
      ];
  }
}
