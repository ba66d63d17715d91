import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { parse } from "smol-toml";
import { GantryError } from "../../../core/errors.ts";
import { builtins } from "../builtins.ts";
import { effectiveConfig, knownTables } from "./effective.ts";
import { loadConfig } from "./load.ts";
import type { Table } from "./migrate.ts";
import { locateKeys, pathKey } from "./positions.ts";
import { renderToml, toVersion3 } from "./write.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-config-"));
after(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
  return path;
}

const known = await knownTables(builtins);

function plugin(settings: Table, uri: string): Table {
  return (settings["plugins"] as Record<string, Table>)[uri] ?? {};
}

test("version 2: the one CRI table is split, sandbox_image becomes pinned_images.sandbox", () => {
  const config = loadConfig(
    file(
      "v2.toml",
      `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "mirror.example/pause:3.6"
  stream_server_port = "10010"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    endpoint = ["https://mirror.example"]
[grpc]
  address = "/run/x.sock"
`,
    ),
    true,
    known,
  );
  assert.deepEqual(config.warnings, []);
  assert.equal(
    (plugin(config.settings, "io.containerd.cri.v1.images")["pinned_images"] as Table)["sandbox"],
    "mirror.example/pause:3.6",
  );
  assert.equal(plugin(config.settings, "io.containerd.cri.v1.images")["snapshotter"], "native");
  assert.equal(plugin(config.settings, "io.containerd.grpc.v1.cri")["stream_server_port"], "10010");
  assert.equal(plugin(config.settings, "io.containerd.server.v1.ttrpc")["address"], "/run/x.sock.ttrpc");
  const containerd = plugin(config.settings, "io.containerd.cri.v1.runtime")["containerd"] as {
    runtimes: { runc: { options: Table } };
  };
  assert.equal(containerd.runtimes.runc.options["SystemdCgroup"], true);
});

test("version 1: short names become uris; a missing version is 1", () => {
  const config = loadConfig(
    file("v1.toml", 'disabled_plugins = ["cri"]\n[plugins.cri]\n  sandbox_image = "p"\n'),
    true,
    known,
  );
  assert.deepEqual(config.settings["disabled_plugins"], ["io.containerd.grpc.v1.cri"]);
  assert.equal(config.version, 1);
});

test("version 3 with the old sandbox_image key is accepted", () => {
  const config = loadConfig(
    file("v3.toml", 'version = 3\n[plugins."io.containerd.cri.v1.images"]\nsandbox_image = "q"\n'),
    true,
    known,
  );
  assert.equal(
    (plugin(config.settings, "io.containerd.cri.v1.images")["pinned_images"] as Table)["sandbox"],
    "q",
  );
});

test("sandbox_image counts wherever a person writes it, also beside the default that config default wrote", () => {
  const images = 'plugins."io.containerd.cri.v1.images"';
  for (const text of [
    `[${images}.pinned_images]\nsandbox_image = "q"\n`,
    `[${images}.pinned_images]\nsandbox = "gantry.local/pause:latest"\nsandbox_image = "q"\n`,
    `[${images}]\nsandbox_image = "q"\n[${images}.pinned_images]\nsandbox = "gantry.local/pause:latest"\n`,
    `[${images}]\nsandbox_image = "old"\n[${images}.pinned_images]\nsandbox = "q"\n`,
  ]) {
    const config = loadConfig(file("both.toml", `version = 3\n${text}`), true, known);
    assert.deepEqual(
      plugin(config.settings, "io.containerd.cri.v1.images")["pinned_images"],
      { sandbox: "q" },
      text,
    );
  }
});

test("unknown keys are warned about with file and line, wrong types too", () => {
  const path = file(
    "bad.toml",
    'version = 2\nnonsense = 1\n\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_imaeg = "x"\n  enable_selinux = "yes"\n[plugins."no.such.plugin"]\n',
  );
  const { warnings } = loadConfig(path, true, known);
  assert.deepEqual(warnings.map((w) => [w.line, w.key]).sort(), [
    [2, "nonsense"],
    [5, "plugins.io.containerd.grpc.v1.cri.sandbox_imaeg"],
    [6, "plugins.io.containerd.grpc.v1.cri.enable_selinux"],
    [7, "plugins.no.such.plugin"],
  ]);
});

test("syntax errors and newer versions say where and what", () => {
  assert.throws(
    () => loadConfig(file("syn.toml", "version = 3\nroot = \n"), true, known),
    /syn\.toml": line 2/,
  );
  assert.throws(() => loadConfig(file("v9.toml", "version = 9\n"), true, known), /version 9 is newer/);
  assert.throws(
    () => loadConfig(join(dir, "none.toml"), true, known),
    (err) =>
      err instanceof GantryError &&
      /no such file/.test(err.message) &&
      /containerd config default > .*none\.toml/.test(err.hint ?? ""),
  );
  assert.equal(loadConfig(join(dir, "none.toml"), false, known).files.length, 0);
});

test("imports: globs relative to the file, later wins, lists united, cycles ignored", () => {
  file("conf.d/10.toml", 'version = 3\nroot = "/b"\ndisabled_plugins = ["b"]\nimports = ["../main.toml"]\n');
  const config = loadConfig(
    file(
      "main.toml",
      'version = 3\nroot = "/a"\nstate = "/s"\ndisabled_plugins = ["a"]\nimports = ["conf.d/*.toml"]\n',
    ),
    true,
    known,
  );
  assert.equal(config.settings["root"], "/b");
  assert.equal(config.settings["state"], "/s");
  assert.deepEqual(config.settings["disabled_plugins"], ["a", "b"]);
  assert.equal(config.files.length, 2);
});

test("imports: what patterns take, in order of names", () => {
  for (const name of ["b.toml", "a.toml", ".hidden.toml", "a.toml.bak", "atoml", "sub/c.toml"])
    file(`drop/${name}`, "version = 3\n");
  const taken = (pattern: string): string[] =>
    loadConfig(file("patterns.toml", `version = 3\nimports = ["${pattern}"]\n`), true, known)
      .files.slice(1)
      .map((path) => path.slice(join(dir, "drop").length + 1));
  assert.deepEqual(taken("drop/*.toml"), ["a.toml", "b.toml"]);
  assert.deepEqual(taken("drop/a*ml"), ["a.toml", "atoml"]);
  assert.deepEqual(taken("drop/?.toml"), ["a.toml", "b.toml"]);
  assert.deepEqual(taken("drop/[b-z].toml"), ["b.toml"]);
  assert.deepEqual(taken("drop/*/c.toml"), ["sub/c.toml"]);
  assert.deepEqual(taken("drop/.*.toml"), [".hidden.toml"]);
  assert.deepEqual(taken("nowhere/*.toml"), []);
});

test("config default is version 3, parses, and reads back without warnings", () => {
  const text = renderToml(toVersion3(effectiveConfig({}, known)));
  const parsed = parse(text) as Table;
  assert.equal(parsed["version"], 3);
  assert.match(text, /# .*sandbox_image/);
  assert.match(text, /SystemdCgroup = false/);
  assert.deepEqual(loadConfig(file("default.toml", text), true, known).warnings, []);
});

test("positions follow multi-line strings and arrays", () => {
  const at = locateKeys('a = """\nb = 1\n"""\nc = [\n  "x", # [\n  "y"\n]\n[t."d.e"]\nf.g = 2\n');
  assert.equal(at.get(pathKey(["c"])), 4);
  assert.equal(at.get(pathKey(["b"])), undefined);
  assert.equal(at.get(pathKey(["t", "d.e", "f", "g"])), 9);
});
