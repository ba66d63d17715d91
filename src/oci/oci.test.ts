import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { codeOf } from "../core/errors.ts";
import { parseDigest } from "../core/ids/digest.ts";
import { chainIds } from "./chain-id.ts";
import { parseImageConfig, parseManifestOrIndex } from "./documents.ts";
import {
  DOCKER_MANIFEST,
  isNonDistributable,
  isUncompressedLayer,
  OCI_INDEX,
  OCI_MANIFEST,
} from "./media-types.ts";
import { formatPlatform, matchOnly, normalizePlatform, parsePlatform, platformVector } from "./platform.ts";
import { familiarName, formatReference, normalizeReference, parseReference } from "./reference.ts";

const HEX = "a".repeat(64);

test("full references", () => {
  const ref = parseReference(`localhost:5000/team/app:v1@sha256:${HEX}`);
  assert.deepEqual(
    [ref.host, ref.repository, ref.tag, ref.digest, ref.object],
    ["localhost:5000", "team/app", "v1", `sha256:${HEX}`, `v1@sha256:${HEX}`],
  );
  assert.equal(formatReference(ref), `localhost:5000/team/app:v1@sha256:${HEX}`);
  assert.equal(parseReference(`h.test/a@sha256:${HEX}`).tag, undefined);
  assert.equal(parseReference("h.test/a").object, "");
  assert.equal(parseReference("[::1]:5000/a:b").host, "[::1]:5000");
});

test("S12: hostile references are refused before any request", () => {
  for (const bad of [
    "nginx",
    "",
    "/a:b",
    "https://h.test/a:b",
    "h.test/../a:b",
    "h.test/a/../../b:c",
    "h.test/a:b/c",
    "h.test/a%2fb:c",
    "h.test/a\0:b",
    "h.test/a@sha256:../../x",
    `h.test/a@md5:${"a".repeat(32)}`,
    `h.test/a@sha256:${HEX.toUpperCase()}`,
    "h.test/a b:c",
    "u:p@h.test/a:b",
    `h.test/${"a".repeat(2000)}:b`,
  ])
    assert.throws(
      () => parseReference(bad),
      (err) => codeOf(err) === "invalid-argument",
      bad,
    );
});

test("docker's short names", () => {
  const table = {
    nginx: "docker.io/library/nginx:latest",
    "a/b:c": "docker.io/a/b:c",
    "index.docker.io/a/b": "docker.io/a/b:latest",
    "localhost/a": "localhost/a:latest",
    "h.test:5000/a": "h.test:5000/a:latest",
    [`nginx@sha256:${HEX}`]: `docker.io/library/nginx@sha256:${HEX}`,
  };
  for (const [short, full] of Object.entries(table)) assert.equal(normalizeReference(short), full);
  assert.equal(familiarName("docker.io/library/nginx:1"), "nginx:1");
  assert.equal(familiarName("h.test/a:1"), "h.test/a:1");
  for (const bad of ["Nginx", HEX, "a b", ""]) assert.throws(() => normalizeReference(bad));
});

test("platforms: normal form, text, preference", () => {
  const host = { os: "linux", architecture: "amd64" };
  assert.equal(formatPlatform(parsePlatform("linux/aarch64/v8", host)), "linux/arm64");
  assert.equal(formatPlatform(parsePlatform("arm", host)), "linux/arm/v7");
  assert.equal(formatPlatform(parsePlatform("windows", host)), "windows/amd64");
  assert.equal(formatPlatform(normalizePlatform({ os: "Linux", architecture: "x86_64" })), "linux/amd64");
  for (const bad of ["", "a/b/c/d", "what", "linux/ö"]) assert.throws(() => parsePlatform(bad, host));
  assert.deepEqual(
    platformVector({ os: "linux", architecture: "arm64", variant: "v8" }).map(formatPlatform),
    ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
  );
  const only = matchOnly({ os: "linux", architecture: "arm", variant: "v7" });
  const list = ["v5", "v7", "v6", "v8"].map((variant) => ({ os: "linux", architecture: "arm", variant }));
  const fit = list.filter((p) => only.match(p)).sort((a, b) => only.compare(a, b));
  assert.deepEqual(
    fit.map((p) => p.variant),
    ["v7", "v6", "v5"],
  );
  assert.equal(matchOnly(host).match({ os: "linux", architecture: "386" }), true);
  assert.equal(matchOnly(host).match({ os: "linux", architecture: "arm64" }), false);
});

test("chain ids", () => {
  const a = parseDigest(`sha256:${HEX}`);
  const two = createHash("sha256").update(`${a} ${a}`).digest("hex");
  assert.deepEqual(chainIds([a, a]), [a, `sha256:${two}`]);
  assert.equal(chainIds([]).length, 0);
});

const D = { digest: `sha256:${HEX}`, size: 3, mediaType: "application/vnd.oci.image.config.v1+json" };
const bytes = (v: unknown): Uint8Array =>
  new TextEncoder().encode(typeof v === "string" ? v : JSON.stringify(v));
const manifest = { schemaVersion: 2, mediaType: OCI_MANIFEST, config: D, layers: [] };

test("a sound manifest, index and config are read", async () => {
  const doc = await parseManifestOrIndex(bytes(manifest), OCI_MANIFEST);
  assert.equal(doc.kind, "manifest");
  const index = {
    schemaVersion: 2,
    manifests: [{ ...D, platform: { os: "linux", architecture: "arm64", variant: "v8" } }],
  };
  assert.equal((await parseManifestOrIndex(bytes(index), OCI_INDEX)).kind, "index");
  const config = await parseImageConfig(
    bytes({
      os: "linux",
      architecture: "amd64",
      config: { Env: null, Cmd: ["x"] },
      rootfs: { type: "layers", diff_ids: [D.digest] },
    }),
  );
  assert.deepEqual([config.config.cmd, config.diffIds.length], [["x"], 1]);
});

test("S10, S11, S12: ambiguous, hostile and oversized documents are refused", async () => {
  const bad: [unknown, string][] = [
    [{ ...manifest, manifests: [] }, OCI_MANIFEST],
    [{ schemaVersion: 2, manifests: [], layers: [] }, OCI_INDEX],
    [{ ...manifest, mediaType: OCI_INDEX }, OCI_MANIFEST],
    [manifest, DOCKER_MANIFEST],
    [{ schemaVersion: 2, config: D, layers: [] }, "application/json"],
    [{ ...manifest, fsLayers: [] }, OCI_MANIFEST],
    [{ ...manifest, layers: [null] }, OCI_MANIFEST],
    [{ ...manifest, config: { ...D, size: -1 } }, OCI_MANIFEST],
    [{ ...manifest, config: { ...D, size: 2 ** 60 } }, OCI_MANIFEST],
    [{ ...manifest, config: { ...D, digest: "sha256:../../x" } }, OCI_MANIFEST],
    [{ ...manifest, layers: Array(10_000).fill(D) }, OCI_MANIFEST],
    ["[".repeat(100_000), OCI_MANIFEST],
    [`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, OCI_MANIFEST],
    ["[]", OCI_MANIFEST],
    ["null", OCI_MANIFEST],
    [" ".repeat(5 * 1024 * 1024), OCI_MANIFEST],
  ];
  for (const [doc, type] of bad)
    await assert.rejects(
      parseManifestOrIndex(bytes(doc), type),
      (err) => codeOf(err) === "invalid-argument",
      JSON.stringify(doc).slice(0, 80),
    );
  await assert.rejects(parseImageConfig(bytes({ rootfs: { type: "layers", diff_ids: ["x"] } })));
});

test("layer media types", () => {
  assert.ok(isUncompressedLayer("application/vnd.oci.image.layer.v1.tar"));
  assert.ok(!isUncompressedLayer("application/vnd.docker.image.rootfs.diff.tar.gzip"));
  assert.ok(isNonDistributable("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
});
