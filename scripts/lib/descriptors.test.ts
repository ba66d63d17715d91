/** The build's reader of embedded descriptors against the library's, on every file that is generated or comes with it. */
import { deepEqual, ok } from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { ROOT } from "./compile.ts";
import { readFileDescriptor } from "./descriptors.ts";

/** Every property that the reader's objects have, defaults included. */
function plain(ours: unknown, theirs: unknown): { ours: unknown; theirs: unknown } {
  if (Array.isArray(ours) && Array.isArray(theirs)) {
    const pairs = ours.map((item, i) => plain(item, theirs[i]));
    return {
      ours: pairs.map((p) => p.ours),
      theirs: pairs.map((p) => p.theirs).concat(theirs.slice(ours.length)),
    };
  }
  if (typeof ours !== "object" || ours === null) return { ours, theirs };
  const a: Record<string, unknown> = {};
  const b: Record<string, unknown> = {};
  for (const key in ours) {
    const pair = plain(
      (ours as Record<string, unknown>)[key],
      (theirs as Record<string, unknown> | undefined)?.[key],
    );
    a[key] = pair.ours;
    b[key] = pair.theirs;
    if (key === "$typeName") continue;
    // the registry asks whether these are set at all
    if (["oneofIndex", "packed", "jsonName", "defaultValue"].includes(key))
      a[`has ${key}`] = Object.hasOwn(ours, key);
    if (["oneofIndex", "packed", "jsonName", "defaultValue"].includes(key))
      b[`has ${key}`] = Object.hasOwn(theirs as object, key);
  }
  return { ours: a, theirs: b };
}

test("reads what the library reads", () => {
  const library = join(ROOT, "node_modules/@bufbuild/protobuf/dist/esm/wkt/gen/google/protobuf");
  const files = [
    ...globSync("src/api/gen/**/*_pb.ts", { cwd: ROOT }).map((name) => join(ROOT, name)),
    ...globSync("*_pb.js", { cwd: library }).map((name) => join(library, name)),
  ];
  let count = 0;
  for (const file of files) {
    const text = /fileDesc\("([A-Za-z0-9+/=]+)"/.exec(readFileSync(file, "utf8"))?.[1];
    if (text === undefined) continue;
    const bytes = base64Decode(text);
    const theirs = fromBinary(FileDescriptorProtoSchema, bytes);
    const pair = plain(readFileDescriptor(bytes), theirs);
    deepEqual(pair.ours, pair.theirs, file);
    for (const part of [theirs, ...theirs.messageType, ...theirs.service, ...theirs.enumType])
      ok((part.options as { features?: unknown } | undefined)?.features === undefined, `${file}: editions`);
    count += 1;
  }
  ok(count > 30, `found ${count} files`);
});

test("the registry takes it", () => {
  const proto = readFileDescriptor(
    base64Decode(
      /fileDesc\("([A-Za-z0-9+/=]+)"/.exec(
        readFileSync(join(ROOT, "src/api/gen/containerd/types/descriptor_pb.ts"), "utf8"),
      )?.[1] ?? "",
    ),
  ) as unknown as FileDescriptorProto;
  const file = createFileRegistry(proto, () => undefined).getFile(proto.name);
  ok(file !== undefined && file.messages.length > 0);
});
