import assert from "node:assert/strict";
import { test } from "node:test";
import { nearest } from "./suggest.ts";

test("one that is near, or none", () => {
  const words = ["run", "ps", "images", "rmi", "rm", "status"];
  for (const [typed, meant] of [
    ["rum", "run"],
    ["imgaes", "images"],
    ["image", "images"],
    ["stauts", "status"],
    ["psx", "ps"],
    ["build", undefined],
    ["x", undefined],
    ["", undefined],
  ] as const)
    assert.equal(nearest(typed, words), meant, typed);
});
