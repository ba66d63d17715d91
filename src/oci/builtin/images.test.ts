import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { BUILTIN_IMAGES, builtinArchive } from "./images.ts";

/** Members of a ustar archive without extensions: enough for archives of ours. */
function members(tar: Uint8Array): Map<string, Buffer> {
  const bytes = Buffer.from(tar);
  const out = new Map<string, Buffer>();
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0; ) {
    const name = bytes.toString("utf8", at, at + 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(bytes.toString("utf8", at + 124, at + 135), 8);
    out.set(name, bytes.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return out;
}

for (const name of ["hello", "pause"] as const) {
  for (const arch of ["amd64", "arm64"]) {
    test(`the ${name} image for ${arch} is whole and named`, async () => {
      const files = members(await builtinArchive(name, arch));
      for (const [path, body] of files) {
        const digest = /^blobs\/sha256\/(.{64})$/.exec(path)?.[1];
        if (digest !== undefined) assert.equal(createHash("sha256").update(body).digest("hex"), digest);
      }
      const index = JSON.parse(String(files.get("index.json")));
      const [entry] = index.manifests;
      assert.equal(entry.annotations["io.containerd.image.name"], BUILTIN_IMAGES[name]);
      assert.equal(entry.platform.architecture, arch);
      const [docker] = JSON.parse(String(files.get("manifest.json")));
      assert.deepEqual(docker.RepoTags, [BUILTIN_IMAGES[name]]);
      for (const path of [docker.Config, ...docker.Layers]) assert.ok(files.has(path), path);
      assert.equal(JSON.parse(String(files.get("oci-layout"))).imageLayoutVersion, "1.0.0");
    });
  }
}

test("the running machine's own architecture is the default", async () => {
  assert.ok((await builtinArchive("hello")).length > 0);
});

test("an image or architecture that is not there is named in the error", async () => {
  await assert.rejects(builtinArchive("nginx"), /built-in image "nginx"/);
  await assert.rejects(builtinArchive("hello", "riscv64"), /for riscv64/);
});
