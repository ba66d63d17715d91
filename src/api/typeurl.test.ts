import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { TaskExitSchema, TaskStartSchema } from "./gen/containerd/events/task_pb.ts";
import { isTypeUrl, packAny, packJsonAny, RuntimeSpecUrl, unpackAny } from "./typeurl.ts";

const start = create(TaskStartSchema, { containerId: "c1", pid: 4294967295 });

test("a message is packed under its plain name and read back", () => {
  const any = packAny(TaskStartSchema, start);
  assert.equal(any.typeUrl, "containerd.events.TaskStart");
  assert.deepEqual(unpackAny(any, TaskStartSchema), start);
});

test("a prefix before the name is accepted", () => {
  const { value } = packAny(TaskStartSchema, start);
  for (const prefix of ["type.googleapis.com/", "/", "a/b/"])
    assert.deepEqual(
      unpackAny({ typeUrl: `${prefix}containerd.events.TaskStart`, value }, TaskStartSchema),
      start,
    );
});

test("another type, a longer name and no Any give undefined", () => {
  const any = packAny(TaskStartSchema, start);
  assert.equal(unpackAny(any, TaskExitSchema), undefined);
  assert.equal(
    unpackAny({ typeUrl: "xcontainerd.events.TaskStart", value: any.value }, TaskStartSchema),
    undefined,
  );
  assert.equal(unpackAny({ typeUrl: "", value: any.value }, TaskStartSchema), undefined);
  assert.equal(unpackAny(undefined, TaskStartSchema), undefined);
});

test("bytes that are not the message throw", () => {
  assert.throws(() =>
    unpackAny({ typeUrl: "containerd.events.TaskStart", value: Uint8Array.of(0x0a, 9) }, TaskStartSchema),
  );
});

test("a whole type URL is compared as it is", () => {
  const any = packJsonAny(RuntimeSpecUrl.process, { cwd: "/" });
  assert.equal(new TextDecoder().decode(any.value), '{"cwd":"/"}');
  assert.ok(isTypeUrl(any, RuntimeSpecUrl.process));
  assert.ok(!isTypeUrl(any, RuntimeSpecUrl.spec));
  assert.ok(!isTypeUrl({ typeUrl: "", value: any.value }, ""));
});
