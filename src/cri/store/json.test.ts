import assert from "node:assert/strict";
import { test } from "node:test";
import { fromJson, toJson } from "./json.ts";

test("64-bit numbers and bytes come back as they were; undefined members are left out", () => {
  const value = {
    big: 9007199254740993n,
    bytes: Uint8Array.of(0, 255, 128),
    list: [1n, { deep: 2n }],
    text: '{"$int":"1"}',
    none: undefined,
  };
  const back = fromJson(toJson(value));
  assert.deepEqual(back, { big: value.big, bytes: value.bytes, list: value.list, text: value.text });
});
