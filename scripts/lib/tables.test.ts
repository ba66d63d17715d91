/** The build's tables against the library's descriptors: every property of every type, and the bytes and JSON that come of it. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  create,
  createRegistry,
  type DescEnum,
  type DescField,
  type DescFile,
  type DescMessage,
  type DescService,
  fromBinary,
  fromJson,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { ROOT } from "./compile.ts";
import { loadModules, type Modules, tableModule, WKT } from "./tables.ts";

let modules: Modules;
let dir: string;
const ours = new Map<string, Record<string, unknown>>();

before(async () => {
  modules = await loadModules();
  // below the repository, so that the library is found
  dir = mkdtempSync(join(ROOT, "node_modules/.tables-"));
  const names = [...modules.exports.keys()];
  const pathOf = (module: string): string => join(dir, `m${names.indexOf(module)}.mjs`);
  mkdirSync(dir, { recursive: true });
  for (const module of names) {
    const text = tableModule(modules, module, join(ROOT, "src/api/tables.ts"));
    // they import one another by the paths of the modules they stand for
    const local = text.replace(/ from "([^"]+)";/g, (all, path) =>
      names.includes(path) ? ` from ${JSON.stringify(pathOf(path))};` : all,
    );
    writeFileSync(pathOf(module), local);
  }
  for (const module of names) ours.set(module, (await import(pathOf(module))) as Record<string, unknown>);
});
after(() => rmSync(dir, { recursive: true, force: true }));

/** Name of what is referred to, since the two sides refer to different objects. */
const typeName = (of: { readonly typeName: string } | undefined): string | undefined => of?.typeName;

function plainField(field: DescField): unknown {
  const f = field as unknown as Record<string, unknown>;
  const same = ["kind", "number", "name", "localName", "jsonName", "presence", "utf8Validation", "fieldKind"];
  const mayMiss = ["scalar", "packed", "listKind", "mapKind", "mapKey", "delimitedEncoding", "longAsString"];
  return {
    values: same.map((key) => f[key]),
    more: mayMiss.map((key) => f[key] || undefined),
    oneof: field.oneof?.name,
    message: typeName(field.message),
    enum: typeName(field.enum),
    parent: field.parent.typeName,
    standard: "getDefaultValue" in field ? field.getDefaultValue?.() : undefined,
    text: String(field),
  };
}

function plain(d: DescFile | DescMessage | DescEnum | DescService): unknown {
  const text = String(d);
  switch (d.kind) {
    case "file":
      return [d.kind, d.name, d.edition, ...[d.messages, d.enums, d.services].map((l) => l.map(typeName))];
    case "enum": {
      const value = (v: DescEnum["values"][number]) => [
        v.kind,
        v.name,
        v.localName,
        v.number,
        v.jsonName,
        `${v}`,
      ];
      const byNumber = Object.entries(d.value).map(([k, v]) => [k, v.name]);
      return [d.kind, d.typeName, d.name, d.open, d.values.map(value), byNumber, text];
    }
    case "service":
      return [
        d.typeName,
        d.name,
        text,
        Object.keys(d.method),
        d.methods.map((m) => [
          ...[m.kind, m.name, m.localName, m.methodKind, m.input.typeName, m.output.typeName, `${m}`],
          m.parent.typeName,
        ]),
      ];
    case "message":
      return {
        ...{ kind: d.kind, typeName: d.typeName, name: d.name, edition: d.file.edition, text },
        fields: d.fields.map(plainField),
        byName: Object.keys(d.field),
        oneofs: d.oneofs.map((o) => [o.kind, o.name, o.localName, o.fields.map((f) => f.name), `${o}`]),
        members: d.members.map((m) => [m.kind, m.name]),
        nested: [...d.nestedMessages, ...d.nestedEnums].map(typeName),
      };
  }
}

test("every export is there and says the same", () => {
  let types = 0;
  for (const [module, theirs] of modules.exports) {
    const mine = ours.get(module) ?? {};
    deepEqual(Object.keys(mine).sort(), Object.keys(theirs).sort(), module);
    for (const [name, value] of Object.entries(theirs)) {
      const isDesc = typeof value === "object" && value !== null && "kind" in value;
      if (isDesc) deepEqual(plain(mine[name] as DescMessage), plain(value as DescMessage), name);
      else deepEqual(mine[name], value, name);
      types += 1;
    }
  }
  ok(types > 500, `${types} types`);
});

/** A message with something in every field, `depth` levels deep. */
function full(desc: DescMessage, depth: number): object {
  const scalar = (type: number): unknown => {
    if (type === 8) return true;
    if (type === 9) return "text é";
    if (type === 12) return new Uint8Array([1, 2, 255]);
    if ([3, 4, 6, 16, 18].includes(type)) return type === 4 || type === 6 ? 2n ** 63n : 2n ** 62n + 1n;
    return 77;
  };
  const one = (f: DescField): unknown => {
    if (f.message !== undefined) return full(f.message, depth - 1);
    return f.enum === undefined ? scalar(f.scalar ?? 0) : (f.enum.values.at(-1)?.number ?? 0);
  };
  const out: Record<string, unknown> = {};
  for (const f of desc.fields) {
    if (f.message !== undefined && depth === 0) continue;
    const value =
      f.fieldKind === "list" ? [one(f), one(f)] : f.fieldKind === "map" ? { "7": one(f) } : one(f);
    if (f.oneof === undefined) out[f.localName] = value;
    else out[f.oneof.localName] = { case: f.localName, value };
  }
  return out;
}

test("the library makes the same bytes and JSON of both, and reads them back", () => {
  let count = 0;
  for (const [module, theirs] of modules.exports) {
    for (const [name, value] of Object.entries(theirs)) {
      const a = value as DescMessage;
      const b = ours.get(module)?.[name] as DescMessage;
      if (a?.kind !== "message") continue;
      deepEqual(create(b), create(a), name);
      const init = full(a, 3);
      const bytes = toBinary(a, create(a, init as never));
      deepEqual(toBinary(b, create(b, init as never)), bytes, name);
      deepEqual(fromBinary(b, bytes), fromBinary(a, bytes), name);
      // unknown fields are kept
      const more = new Uint8Array([...bytes, 0xfa, 0xff, 0x7f, 1, 9]);
      deepEqual(toBinary(b, fromBinary(b, more)), toBinary(a, fromBinary(a, more)), name);
      count += 1;
      if (module === WKT || bytes.length === 0) continue;
      const options = { alwaysEmitImplicit: true, useProtoFieldName: true };
      const hasAny = /"(?:type_?[uU]rl)"|Any/.test(JSON.stringify(plain(a)));
      if (hasAny || name.includes("Event")) continue;
      try {
        toJson(a, fromBinary(a, bytes), options);
      } catch {
        continue; // times out of range, Any without a registry
      }
      const json = toJson(a, fromBinary(a, bytes), options);
      deepEqual(toJson(b, fromBinary(b, bytes), options), json, name);
      deepEqual(fromJson(b, json), fromJson(a, json), name);
    }
  }
  ok(count > 400, `${count} messages`);
});

test("a registry takes files of tables", () => {
  const files = [...ours.values()].flatMap((module) =>
    Object.values(module).filter(
      (d): d is DescFile => (d as { kind?: string }).kind === "file" && (d as DescFile).name !== "",
    ),
  );
  const registry = createRegistry(...files);
  equal(registry.getMessage("containerd.events.TaskExit")?.name, "TaskExit");
  equal(registry.getMessage("runtime.v1.ContainerConfig")?.fields.length !== 0, true);
});
