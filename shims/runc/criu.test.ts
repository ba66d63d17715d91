/** The configuration CRIU gets for a restore. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { restoreInPlace } from "./criu.ts";

let bundle: string;
const config = (): string => readFileSync(join(bundle, "config.json"), "utf8");
const annotations = (): unknown => (JSON.parse(config()) as { annotations?: unknown }).annotations;

beforeEach(() => {
  bundle = mkdtempSync(join(tmpdir(), "gantry-criu-"));
});
afterEach(() => rmSync(bundle, { recursive: true, force: true }));

test("CRIU leaves what it restores in its cgroup; limits beyond 2^53 and annotations stay as they are", () => {
  const limit = '"hard":18446744073709551615';
  writeFileSync(join(bundle, "config.json"), `{"annotations":{"a":"b"},"rlimits":[{${limit}}]}\n`);
  restoreInPlace(bundle);
  const file = join(bundle, "criu.conf");
  assert.deepEqual(annotations(), { a: "b", "org.criu.config": file });
  assert.ok(config().includes(limit));
  assert.match(readFileSync(file, "utf8"), /^manage-cgroups=ignore$/m);
});

test("a container without annotations", () => {
  for (const text of ["{}", '{"annotations":null}']) {
    writeFileSync(join(bundle, "config.json"), text);
    restoreInPlace(bundle);
    assert.deepEqual(annotations(), { "org.criu.config": join(bundle, "criu.conf") });
  }
});

test("a configuration that the container names itself is left alone", () => {
  const given = '{"annotations":{"org.criu.config":""}}';
  writeFileSync(join(bundle, "config.json"), given);
  restoreInPlace(bundle);
  assert.equal(config(), given);
  assert.equal(existsSync(join(bundle, "criu.conf")), false);
});
