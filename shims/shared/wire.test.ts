/** Holds the shim's message tables against the generated descriptors. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DescField, type DescMessage, fromBinary, ScalarType, toBinary } from "@bufbuild/protobuf";
import {
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_timestamp,
} from "@bufbuild/protobuf/wkt";
import { file_containerd_cgroups_v1_metrics } from "../../src/api/gen/containerd/cgroups/v1/metrics_pb.ts";
import { file_containerd_cgroups_v2_metrics } from "../../src/api/gen/containerd/cgroups/v2/metrics_pb.ts";
import { file_containerd_events_task } from "../../src/api/gen/containerd/events/task_pb.ts";
import { file_containerd_runtime_bootstrap_v1_bootstrap } from "../../src/api/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.ts";
import { file_containerd_runtime_sandbox_v1_sandbox } from "../../src/api/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import { file_containerd_runtime_task_v2_shim } from "../../src/api/gen/containerd/runtime/task/v2/shim_pb.ts";
import { file_containerd_runtime_task_v3_shim } from "../../src/api/gen/containerd/runtime/task/v3/shim_pb.ts";
import { file_containerd_services_ttrpc_events_v1_events } from "../../src/api/gen/containerd/services/ttrpc/events/v1/events_pb.ts";
import { file_containerd_types_event } from "../../src/api/gen/containerd/types/event_pb.ts";
import { file_containerd_types_introspection } from "../../src/api/gen/containerd/types/introspection_pb.ts";
import { file_containerd_types_metrics } from "../../src/api/gen/containerd/types/metrics_pb.ts";
import { file_containerd_types_mount } from "../../src/api/gen/containerd/types/mount_pb.ts";
import { file_containerd_types_platform } from "../../src/api/gen/containerd/types/platform_pb.ts";
import { file_containerd_types_runc_options_oci } from "../../src/api/gen/containerd/types/runc/options/oci_pb.ts";
import { file_containerd_types_task_task } from "../../src/api/gen/containerd/types/task/task_pb.ts";
import * as tables from "./messages.ts";
import * as metrics from "./metrics-messages.ts";
import * as sandbox from "./sandbox-messages.ts";
import { decode, encode, type Fields, type MessageType } from "./wire.ts";

const all = new Map<string, DescMessage>();
for (const file of [
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_timestamp,
  file_containerd_cgroups_v1_metrics,
  file_containerd_cgroups_v2_metrics,
  file_containerd_events_task,
  file_containerd_runtime_bootstrap_v1_bootstrap,
  file_containerd_runtime_sandbox_v1_sandbox,
  file_containerd_types_metrics,
  file_containerd_types_platform,
  file_containerd_runtime_task_v2_shim,
  file_containerd_runtime_task_v3_shim,
  file_containerd_services_ttrpc_events_v1_events,
  file_containerd_types_event,
  file_containerd_types_introspection,
  file_containerd_types_mount,
  file_containerd_types_runc_options_oci,
  file_containerd_types_task_task,
])
  for (const desc of file.messages) all.set(desc.typeName, desc);

/** A message with every field of the table set, by the table's own names. */
function sample(type: MessageType<Fields>, depth = 0): Record<string, unknown> {
  const desc = all.get(type.name);
  assert.ok(desc, type.name);
  const out: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(type.fields)) {
    const known: DescField | undefined = desc.fields.find((f) => f.number === field.no);
    assert.equal(known?.localName, name, `${type.name}.${name} = ${field.no}`);
    if (known === undefined) continue;
    const scalar = (kind: ScalarType): unknown => {
      if (kind === ScalarType.STRING) return `text ${field.no}`;
      if (kind === ScalarType.BYTES) return new Uint8Array([1, 0, 255, field.no]);
      if (kind === ScalarType.BOOL) return true;
      if (kind === ScalarType.DOUBLE) return 1.5 + field.no;
      if (kind === ScalarType.UINT64 || kind === ScalarType.INT64) return (1n << 62n) + BigInt(field.no);
      return 1_000_000 + field.no;
    };
    if (known.fieldKind === "scalar") out[name] = scalar(known.scalar);
    else if (known.fieldKind === "enum") out[name] = 4;
    else if (known.fieldKind === "map")
      continue; // shape differs, see below
    else if (known.fieldKind === "list" && known.listKind === "scalar")
      out[name] = [scalar(known.scalar), scalar(known.scalar)];
    // Messages inside are tables of their own, checked by their own name below.
    else if (depth > 3) out[name] = known.fieldKind === "list" ? [] : undefined;
  }
  return out;
}

const plain = (value: unknown): string =>
  JSON.stringify(value, (_key, v: unknown) =>
    typeof v === "bigint" ? String(v) : v instanceof Uint8Array ? Buffer.from(v).toString("hex") : v,
  );

for (const type of [
  ...[tables, metrics, sandbox].flatMap((t) => Object.values(t)),
] as MessageType<Fields>[]) {
  test(`${type.name}: fields, numbers and bytes equal the definition`, () => {
    const desc = all.get(type.name);
    assert.ok(desc, type.name);
    const value = sample(type);
    const theirs = fromBinary(desc, encode(type, value)) as unknown as Record<string, unknown>;
    assert.equal(theirs["$unknown"], undefined);
    for (const [name, want] of Object.entries(value))
      assert.equal(plain(theirs[name]), plain(want), `${type.name}.${name}`);
    const back = decode(type, toBinary(desc, theirs as never));
    for (const [name, want] of Object.entries(value))
      assert.equal(plain(back[name]), plain(want), `${type.name}.${name}`);
  });
}

test("version 2 of the task service has the same messages", () => {
  for (const desc of file_containerd_runtime_task_v3_shim.messages) {
    const other = all.get(desc.typeName.replace(".v3.", ".v2."));
    const shape = (d: DescMessage | undefined) => d?.fields.map((f) => [f.number, f.name, f.fieldKind]);
    assert.deepEqual(shape(other), shape(desc));
  }
});

test("shared tables fit every message they stand for", () => {
  const same = (a: string, b: string): void => {
    const shape = (n: string) => all.get(`containerd.task.v3.${n}`)?.fields.map((f) => [f.number, f.name]);
    assert.deepEqual(shape(a), shape(b));
  };
  for (const n of ["ResumeRequest", "PidsRequest", "StatsRequest", "ConnectRequest"]) same("PauseRequest", n);
  for (const n of ["StartRequest", "DeleteRequest", "WaitRequest"]) same("StateRequest", n);
  same("StartResponse", "CreateTaskResponse");
});

test("nested, repeated and unknown fields survive", () => {
  const value = {
    rootfs: [{ type: "a", options: ["x", "y"] }, { source: "b" }],
    options: { typeUrl: "t", value: new Uint8Array([9]) },
  };
  const back = decode(tables.CreateTaskRequest, encode(tables.CreateTaskRequest, value));
  assert.deepEqual(
    back.rootfs.map((m) => m.options),
    [["x", "y"], []],
  );
  assert.equal(back.options?.typeUrl, "t");
  assert.deepEqual(decode(tables.ByIdRequest, encode(tables.CreateTaskRequest, { ...value, id: "i" })), {
    id: "i",
  });
});

test("a map of strings is the definition's map", () => {
  const desc = all.get("containerd.task.v3.UpdateTaskRequest");
  assert.ok(desc);
  const annotations = new Map([
    ["a", "1"],
    ["b", ""],
  ]);
  const bytes = encode(tables.UpdateTaskRequest, { id: "x", annotations });
  const theirs = fromBinary(desc, bytes) as unknown as { annotations: Record<string, string> };
  assert.deepEqual(theirs.annotations, { a: "1", b: "" });
  const back = decode(tables.UpdateTaskRequest, toBinary(desc, theirs as never));
  assert.deepEqual(back.annotations, annotations);
});
