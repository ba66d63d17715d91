import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { PodSandboxMetadataSchema } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { podName } from "./names.ts";

const good = { name: "web-0", namespace: "shop", uid: "6f1c", attempt: 2 };
const nameOf = (change: Partial<typeof good>): string =>
  podName(create(PodSandboxMetadataSchema, { ...good, ...change }));

test("a pod's name is made of all its parts", () => {
  assert.equal(nameOf({}), "web-0_shop_6f1c_2");
  for (const part of ["name", "namespace", "uid"] as const)
    assert.throws(() => nameOf({ [part]: "" }), { code: "invalid-argument" });
  assert.throws(() => podName(undefined), { code: "invalid-argument" });
});

test("no part adds an argument to those of CNI plugins", () => {
  for (const part of ["name", "namespace", "uid"] as const)
    for (const value of ["x;IP=10.0.0.1", "a=b", "a;", "a\nb", "a\0b"])
      assert.throws(() => nameOf({ [part]: value }), { code: "invalid-argument" }, `${part} ${value}`);
});
