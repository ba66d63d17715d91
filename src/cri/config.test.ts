import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRuntimeConfig, parseServerConfig } from "./config.ts";
import { DEFAULT_SANDBOX_IMAGE, parseImagesConfig } from "./config-images.ts";
import { readFeatures } from "./handlers.ts";

test("defaults: one runc handler, and times in milliseconds", () => {
  const config = parseRuntimeConfig({});
  assert.deepEqual([...config.handlers.keys()], ["runc"]);
  assert.equal(config.handlers.get("runc")?.type, "io.containerd.runc.v2");
  assert.equal(config.statsRetentionPeriod, 120_000);
  assert.deepEqual(config.cni.binDirs, ["/opt/cni/bin"]);
  assert.equal(parseServerConfig({}).streamIdleTimeout, 4 * 3_600_000);
  assert.equal(parseImagesConfig({}).sandboxImage, DEFAULT_SANDBOX_IMAGE);
});

test("a table inside a table keeps the other defaults; bin_dir of older files is the one folder", () => {
  const config = parseRuntimeConfig({
    cni: { conf_dir: "/x", bin_dir: "/usr/lib/cni" },
    containerd: {
      runtimes: { runc: { options: { SystemdCgroup: true } }, kata: { runtime_type: "io.kata.v2" } },
    },
  });
  assert.equal(config.cni.maxConfNum, 1);
  assert.deepEqual(config.cni.binDirs, ["/usr/lib/cni"]);
  assert.ok(config.handlers.get("runc")?.systemdCgroup);
  assert.equal(config.handlers.get("kata")?.type, "io.kata.v2");
});

test("wrong values name their key", () => {
  assert.throws(() => parseRuntimeConfig({ enable_cdi: "yes" }), /enable_cdi "yes": want true or false/);
  assert.throws(() => parseRuntimeConfig({ cni: { ip_pref: "v4" } }), /cni\.ip_pref/);
  assert.throws(
    () => parseRuntimeConfig({ containerd: { default_runtime_name: "crun" } }),
    /default_runtime_name "crun"/,
  );
  assert.throws(
    () => parseRuntimeConfig({ containerd: { runtimes: { runc: { snapshotter: 1 } } } }),
    /containerd\.runtimes\.runc\.snapshotter 1/,
  );
  assert.throws(() => parseRuntimeConfig({ stats_collect_period: "soon" }), /stats_collect_period "soon"/);
  assert.throws(() => parseServerConfig({ stream_server_port: "70000" }), /stream_server_port/);
  assert.throws(() => parseImagesConfig({ image_pull_progress_timeout: "x" }), /image_pull_progress_timeout/);
});

test("what a runtime says of itself", () => {
  const facts = readFeatures({
    ociVersionMax: "1.3.0",
    mountOptions: ["ro", "rro"],
    linux: { namespaces: ["user", "pid"], mountExtensions: { idmap: { enabled: true } } },
  });
  assert.equal(facts.ociVersionMax, "1.3.0");
  assert.ok(facts.idmapMounts && facts.userNamespaces);
  assert.equal(readFeatures({}).userNamespaces, false);
});
