import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { addressOf } from "./context.ts";
import { durationMs, parseOptions, resolveSettings, setOption } from "./settings.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-crictl-"));
after(() => rmSync(dir, { recursive: true, force: true }));

const FILE = `---
# where the engine is
runtime-endpoint: "unix:///run/a.sock"   # note
image-endpoint: 'unix:///run/b.sock'
timeout: 10
debug: true
pull-image-on-create: false
disable-pull-on-run: true
future-option: 3
`;

test("the file of options", () => {
  assert.deepEqual(parseOptions(FILE, "f"), {
    "runtime-endpoint": "unix:///run/a.sock",
    "image-endpoint": "unix:///run/b.sock",
    timeout: 10,
    debug: true,
    "pull-image-on-create": false,
    "disable-pull-on-run": true,
    "max-retries": 3,
  });
  assert.equal(parseOptions("", "f").timeout, 0);
  assert.equal(parseOptions('runtime-endpoint: ""\n', "f")["runtime-endpoint"], "");
  assert.throws(() => parseOptions("timeout: soon\n", "/x.yaml"), /"\/x\.yaml": line 1: .*whole number/);
  assert.throws(() => parseOptions("debug: maybe\n", "f"), /true or false/);
  assert.throws(() => parseOptions("just words\n", "f"), /line 1: want "key: value"/);
  assert.throws(
    () => setOption({ ...parseOptions("", "f") }, "nope", "1"),
    /no configuration option named "nope"/,
  );
});

test("flags beat the file, the file beats defaults", () => {
  const config = join(dir, "crictl.yaml");
  writeFileSync(config, FILE);
  const fromFile = resolveSettings({ config });
  assert.deepEqual(
    [
      fromFile.runtimeEndpoint,
      fromFile.imageEndpoint,
      fromFile.timeoutMs,
      fromFile.debug,
      fromFile.pullOnRun,
    ],
    ["unix:///run/a.sock", "unix:///run/b.sock", 10_000, true, false],
  );
  const flags = { config, runtimeEndpoint: "unix:///c", timeout: "500ms", maxRetries: "0" };
  const fromFlags = resolveSettings(flags);
  assert.deepEqual(
    [fromFlags.runtimeEndpoint, fromFlags.timeoutMs, fromFlags.maxRetries],
    ["unix:///c", 500, 0],
  );
  writeFileSync(config, "");
  const defaults = resolveSettings({ config });
  assert.deepEqual([defaults.runtimeEndpoint, defaults.timeoutMs, defaults.maxRetries], ["", 2_000, 3]);
  assert.equal(resolveSettings({ config, timeout: "0s" }).timeoutMs, 2_000);
  assert.throws(() => resolveSettings({ config: join(dir, "none.yaml") }), /load config file/);
});

test("durations and endpoints", () => {
  assert.deepEqual(
    ["2s", "1m30s", "5", "250ms"].map((text) => durationMs("-t", text)),
    [2_000, 90_000, 5_000, 250],
  );
  assert.throws(() => durationMs("--timeout", "soon"), /--timeout value "soon"/);
  assert.deepEqual(addressOf("unix:///run/x.sock"), { path: "/run/x.sock" });
  assert.deepEqual(addressOf("/run/x.sock"), { path: "/run/x.sock" });
  assert.deepEqual(addressOf("tcp://10.0.0.1:99"), { host: "10.0.0.1", port: 99 });
  assert.throws(() => addressOf("http://x"), /not an address/);
});
