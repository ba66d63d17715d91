import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { GantryError } from "../../../core/errors.ts";
import { builtins } from "../builtins.ts";
import { effectiveConfig, knownTables } from "./effective.ts";
import { explainKey, renderExplained } from "./explain.ts";
import { describeKey } from "./keys.ts";
import { loadConfig } from "./load.ts";
import { isTable, type Table } from "./migrate.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-explain-"));
after(() => rmSync(dir, { recursive: true, force: true }));

const known = await knownTables(builtins);
const live = new Map([["io.containerd.gc.v1.scheduler", ["schedule_delay"]]]);

function explain(key: string, file: string): ReturnType<typeof explainKey> {
  const path = join(dir, "config.toml");
  writeFileSync(path, file);
  return explainKey(key, loadConfig(path, true, known), known, live);
}

test("a key by its last part, with where it is set and as what", () => {
  const [one, ...rest] = explain(
    "sandbox_image",
    'version = 2\nimports = []\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "a/b:1"\n',
  );
  assert.deepEqual(rest, []);
  assert.ok(one !== undefined);
  assert.equal(one.key, 'plugins."io.containerd.cri.v1.images".pinned_images.sandbox');
  assert.equal(one.value, "a/b:1");
  assert.equal(one.default, "gantry.local/pause:latest");
  assert.match(
    one.source ?? "",
    /config\.toml:4 \(written as plugins\."io\.containerd\.grpc\.v1\.cri"\.sandbox_image\)$/,
  );
  assert.match(renderExplained([one]), /in effect: "a\/b:1", from .*:4/);
});

test("keys of the top tables that became plugins, and those a reload takes", () => {
  const file = 'version = 3\nimports = []\n[grpc]\n  address = "/x.sock"\n[debug]\n  level = "debug"\n';
  const [address] = explain("grpc.address", file);
  assert.equal(address?.key, "grpc.address");
  assert.equal(address?.value, "/x.sock");
  assert.match(address?.source ?? "", /config\.toml:4$/);
  assert.equal(address?.live, false);
  assert.equal(explain("debug.level", file)[0]?.live, true);
  assert.equal(explain('plugins."io.containerd.gc.v1.scheduler".schedule_delay', file)[0]?.live, true);
  assert.equal(explain("io.containerd.gc.v1.scheduler.pause_threshold", file)[0]?.live, false);
});

test("a handler of another name has its keys explained, too", () => {
  const [one] = explain(
    "runtimes.kata.options.SystemdCgroup",
    "version = 3\nimports = []\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata.options]\nSystemdCgroup = true\n",
  );
  assert.equal(one?.value, true);
  assert.match(one?.description ?? "", /systemd cgroup driver/);
});

test("an unknown key: not found, with keys that look like it", () => {
  assert.throws(
    () => explain("conf_path", "version = 3\n"),
    (err) => err instanceof GantryError && err.code === "not-found",
  );
  assert.throws(
    () => explain("max_concurrent", "version = 3\n"),
    (err) => err instanceof GantryError && (err.hint ?? "").includes("max_concurrent_downloads"),
  );
});

test("every key has a description", () => {
  const missing: string[] = [];
  const walk = (table: Table, path: readonly string[]): void => {
    for (const [key, value] of Object.entries(table)) {
      const at = [...path, key];
      if (isTable(value) && Object.keys(value).length > 0) walk(value, at);
      else if (describeKey(at[0] === "plugins" ? at.slice(1) : at) === undefined) missing.push(at.join("|"));
    }
  };
  walk(effectiveConfig({}, known), []);
  assert.deepEqual(missing, []);
});
