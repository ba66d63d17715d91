/** Images, content, snapshots, leases, namespaces: what a client can do without a container. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { imageName } from "../../fixtures/images.ts";
import type { Scenario } from "../suite.ts";

const DIGEST = /sha256:[0-9a-f]{64}/;

const version: Scenario = {
  name: "version shows client and server",
  async run({ ctr }) {
    const out = await ctr.ok("version");
    assert.match(out, /^Client:\n {2}Version: +\S+/);
    assert.match(out, /\n\nServer:\n {2}Version: +\S+/);
    assert.match(out, /UUID: [0-9a-f-]{36}/);
  },
};

const plugins: Scenario = {
  name: "plugins ls lists what runs",
  async run({ ctr }) {
    const out = await ctr.ok("plugins", "ls");
    assert.match(out, /^TYPE +ID +PLATFORMS +STATUS/);
    for (const line of ["snapshotter.v1 +overlayfs +linux/amd64 +ok", "grpc.v1 +tasks +\\S* +ok"])
      assert.match(out, new RegExp(`io\\.containerd\\.${line}`));
    assert.match(out, /io\.containerd\.runtime\.v2 +task +linux\/amd64 +ok/);
  },
};

const namespaces: Scenario = {
  name: "namespaces are made, labelled, listed, removed",
  async run({ ctr, engine }) {
    const name = `other-${engine.tag}`;
    await ctr.ok("namespaces", "create", name, "color=red");
    await ctr.ok("namespaces", "label", name, "size=9");
    const out = await ctr.ok("namespaces", "ls");
    assert.match(out, /^NAME +LABELS/);
    assert.match(out, new RegExp(`${name} +color=red,size=9`));
    assert.equal((await ctr.run("namespaces", "create", name)).code, 1);
    await ctr.ok("namespaces", "rm", name);
    assert.doesNotMatch(await ctr.ok("namespaces", "ls", "-q"), new RegExp(name));
  },
};

const images: Scenario = {
  name: "images: pull, ls, check, tag, label, rm",
  async run({ ctr, registry }) {
    const ref = registry.ref("multi");
    await ctr.ok("images", "pull", "--plain-http", ref);
    const list = await ctr.ok("images", "ls");
    assert.match(list, /^REF +TYPE +DIGEST +SIZE +PLATFORMS +LABELS/);
    const row = list.split("\n").find((line) => line.startsWith(`${ref} `)) ?? "";
    assert.match(row, /application\/vnd\.oci\.image\.index\.v1\+json/);
    assert.match(row, /linux\/amd64,linux\/arm64/);
    const check = await ctr.ok("images", "check", `name==${ref}`);
    assert.match(check, /complete \(\d+\/\d+\)/);
    assert.match(check, new RegExp(`${ref} .*true`));
    const tag = imageName("tagged");
    await ctr.ok("images", "tag", ref, tag);
    assert.equal((await ctr.run("images", "tag", ref, tag)).code, 1);
    await ctr.ok("images", "label", tag, "a=b");
    const tagged = (await ctr.ok("images", "ls", `name==${tag}`)).split("\n")[1] ?? "";
    assert.match(tagged, /a=b/);
    assert.equal(tagged.match(DIGEST)?.[0], row.match(DIGEST)?.[0]);
    await ctr.ok("images", "rm", "--sync", ref, tag);
    assert.doesNotMatch(await ctr.ok("images", "ls", "-q"), /multi|tagged/);
  },
};

const archives: Scenario = {
  name: "images: export writes an archive of both kinds that loads back",
  async run({ ctr, engine, image, dir }) {
    const path = join(dir, `export-${engine.id("x")}.tar`);
    await ctr.ok("images", "export", path, image);
    const names = execFileSync("tar", ["-tf", path], { encoding: "utf8" }).split("\n");
    for (const name of ["oci-layout", "index.json", "manifest.json"]) assert.ok(names.includes(name), name);
    const docker = JSON.parse(execFileSync("tar", ["-xOf", path, "manifest.json"], { encoding: "utf8" }));
    assert.deepEqual(docker[0].RepoTags, [image]);
    for (const blob of [docker[0].Config, ...docker[0].Layers]) assert.ok(names.includes(blob), blob);
    // skopeo judges the archive in both readings
    const inspect = (transport: string): string =>
      execFileSync("skopeo", ["inspect", "--config", `${transport}:${path}`], { encoding: "utf8" });
    assert.match(inspect("docker-archive"), /"rootfs"/);
    const other = ctr.in(`load-${engine.tag}`);
    await other.ok("images", "import", path);
    const digest = (list: string): string | undefined => list.match(DIGEST)?.[0];
    const [mine, theirs] = await Promise.all([ctr, other].map((c) => c.ok("images", "ls", `name==${image}`)));
    assert.equal(digest(theirs ?? ""), digest(mine ?? ""));
    await clearNamespace(other);
  },
};

const content: Scenario = {
  name: "content: ingest, ls, get, label, rm",
  async run({ ctr, engine }) {
    const text = `some bytes ${engine.id("c")}\n`;
    const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
    const args = [
      "content",
      "ingest",
      "--expected-digest",
      digest,
      "--expected-size",
      String(text.length),
      "a-ref",
    ];
    const said = await ctr.start(args, { input: text }).done;
    assert.equal(said.code, 0, said.err);
    assert.equal(await ctr.ok("content", "get", digest), text);
    await ctr.ok("content", "label", digest, "k=v");
    const list = await ctr.ok("content", "ls");
    assert.match(list, /^DIGEST\s+SIZE\s+AGE\s+LABELS/);
    assert.match(list, new RegExp(`${digest}\\s+${text.length}B?\\s.*k=v`));
    const wrong = ["content", "ingest", "--expected-digest", digest.replace(/.$/, "z"), "b-ref"];
    assert.equal((await ctr.start(wrong, { input: text }).done).code, 1);
    await ctr.ok("content", "rm", digest);
    assert.equal((await ctr.run("content", "get", digest)).code, 1);
    assert.doesNotMatch(await ctr.ok("content", "ls", "-q"), new RegExp(digest));
  },
};

const snapshots: Scenario = {
  name: "snapshots: prepare, mounts, commit, view, tree, usage, info, rm",
  async run({ ctr, engine }) {
    const [work, done, look] = ["work", "done", "look"].map((name) => engine.id(name));
    if (work === undefined || done === undefined || look === undefined) return;
    const base = (await ctr.ok("snapshots", "ls")).match(/^sha256:\S+/m)?.[0] ?? "";
    await ctr.ok("snapshots", "prepare", work, base);
    assert.match(
      await ctr.ok("snapshots", "mounts", "/nowhere", work),
      /^mount -t overlay overlay \/nowhere -o /,
    );
    await ctr.ok("snapshots", "commit", done, work);
    await ctr.ok("snapshots", "view", look, done);
    const list = await ctr.ok("snapshots", "ls");
    assert.match(list, /^KEY +PARENT +KIND/);
    assert.match(list, new RegExp(`${done} +${base} +Committed`));
    assert.match(list, new RegExp(`${look} +${done} +View`));
    assert.match(await ctr.ok("snapshots", "tree"), new RegExp(`${done}\\n.*${look}`));
    assert.match(await ctr.ok("snapshots", "usage", done), /^KEY +SIZE +INODES/);
    assert.equal(JSON.parse(await ctr.ok("snapshots", "info", done)).Kind, "Committed");
    assert.equal((await ctr.run("snapshots", "rm", done)).code, 1, "a parent is not removed");
    await ctr.ok("snapshots", "rm", look);
    await ctr.ok("snapshots", "rm", done);
  },
};

const leases: Scenario = {
  name: "leases: create, ls, rm",
  async run({ ctr, engine }) {
    const id = engine.id("lease");
    assert.equal((await ctr.ok("leases", "create", "--id", id, "why=test")).trim(), id);
    assert.equal((await ctr.run("leases", "create", "--id", id)).code, 1);
    const list = await ctr.ok("leases", "ls");
    assert.match(list, /^ID +CREATED AT +LABELS/);
    assert.match(list, new RegExp(`${id} .*why=test`));
    const made = (await ctr.ok("leases", "create")).trim();
    await ctr.ok("leases", "rm", "--sync", made);
    await ctr.ok("leases", "rm", id);
    assert.doesNotMatch(await ctr.ok("leases", "ls", "-q"), new RegExp(id));
  },
};

const isolation: Scenario = {
  name: "a namespace sees nothing of another",
  async run({ ctr, engine, image }) {
    const other = ctr.in(`iso-${engine.tag}`);
    const id = engine.id("iso");
    await ctr.ok("containers", "create", image, id);
    assert.equal(await other.ok("containers", "ls", "-q"), "");
    assert.equal(await other.ok("images", "ls", "-q"), "");
    assert.equal(await other.ok("content", "ls", "-q"), "");
    const said = await other.run("containers", "info", id);
    assert.equal(said.code, 1);
    assert.match(said.err, /not found/);
    assert.equal((await other.run("run", "--rm", image, engine.id("iso"), "true")).code, 1);
    await ctr.ok("containers", "rm", id);
    await clearNamespace(other);
  },
};

/** Removes what a scenario put into a namespace of its own, and the namespace. */
async function clearNamespace(other: Parameters<Scenario["run"]>[0]["ctr"]): Promise<void> {
  const names = (await other.ok("images", "ls", "-q")).split("\n").filter(Boolean);
  if (names.length > 0) await other.ok("images", "rm", "--sync", ...names);
  // reading alone does not make a namespace
  const known = (await other.ok("namespaces", "ls", "-q")).split("\n");
  if (known.includes(other.namespace)) await other.ok("namespaces", "rm", other.namespace);
}

/** A push to a registry of its own and the pull of what was pushed. */
const ociLayout: Scenario = {
  name: "images: an OCI layout and a docker-save archive import alike",
  async run({ ctr, engine, images: set, dir }) {
    const saved = join(dir, `saved-${engine.id("x")}.tar`);
    const name = imageName("saved");
    execFileSync("skopeo", [
      "copy",
      "-q",
      "--insecure-policy",
      `oci:${set.layout}:nonroot`,
      `docker-archive:${saved}:${name}`,
    ]);
    await ctr.ok("images", "import", saved);
    const said = await ctr.run("run", "--rm", name, engine.id("saved"));
    assert.match(said.out, /^uid=1000\(app\).*\nhello world\n\/home\n$/, said.err);
    assert.equal(said.code, 0);
    const text = readFileSync(saved).subarray(0, 1000);
    writeFileSync(saved, text);
    const cut = await ctr.run("images", "import", saved);
    assert.equal(cut.code, 1, "a cut archive is refused");
    await ctr.ok("images", "rm", "--sync", name);
  },
};

/** In the order of the table of contents of containerd's own guide. */
export const storeScenarios: readonly Scenario[] = [
  version,
  plugins,
  namespaces,
  images,
  archives,
  ociLayout,
  content,
  snapshots,
  leases,
  isolation,
];
