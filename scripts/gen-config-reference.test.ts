import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { configReference } from "./gen-config-reference.ts";

test("docs/configuration.md is what the definitions say: run bun scripts/gen-config-reference.ts", async () => {
  const path = join(import.meta.dirname, "../docs/configuration.md");
  assert.equal(readFileSync(path, "utf8"), await configReference());
});
