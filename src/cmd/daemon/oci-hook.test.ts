import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { render } from "./oci-hook.ts";

const ROOT = join(import.meta.dirname, "../../..");

test("templates become what the state says", () => {
  const state = { id: "c1", status: "created", pid: 7, bundle: "/b", annotations: { "a.b/c": "x y" } };
  assert.equal(render("{{id}}:{{ pid }}:{{status}}:{{bundle}}", state), "c1:7:created:/b");
  assert.equal(render('{{annotation "a.b/c"}}|{{annotation `nosuch`}}', state), "x y|");
  assert.equal(render("{ {id}", state), "{ {id}");
  assert.throws(() => render("{{nosuch}}", state), /template "\{\{nosuch\}\}": not known/);
});

test("the program gets them as arguments and in its environment, its exit code is the hook's", () => {
  const bundle = mkdtempSync(join(tmpdir(), "gantry-hook-"));
  try {
    writeFileSync(join(bundle, "config.json"), '{"root": {"path": "rootfs"}}');
    const args = [
      "src/main.ts",
      "daemon",
      "oci-hook",
      "/bin/sh",
      "-c",
      'echo "$0 $1 $WHO"; exit 3',
      "{{id}}",
      "{{rootfs}}",
    ];
    const done = spawnSync(join(ROOT, "node_modules/.bin/bun"), args, {
      cwd: ROOT,
      encoding: "utf8",
      input: JSON.stringify({ ociVersion: "1.0.2", id: "c1", status: "created", pid: 7, bundle }),
      env: { ...process.env, WHO: "{{pid}}" },
    });
    assert.deepEqual([done.stdout, done.status], [`c1 ${bundle}/rootfs 7\n`, 3], done.stderr);
  } finally {
    rmSync(bundle, { recursive: true });
  }
});
