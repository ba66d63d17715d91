import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { inNs } from "../../../test/contract/harness.ts";
import { makeLocal } from "../../../test/contract/local-stores.ts";
import { isInvalidArgument } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import { describe as describeBlob } from "../../oci/descriptors.ts";
import type { Manifest } from "../../oci/documents.ts";
import { writeArtifact } from "./artifact.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-artifact-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const call = inNs("testing");
const stores = await makeLocal();
after(() => stores.close());

async function stored(text: string, title?: string): Promise<Descriptor> {
  const bytes = new TextEncoder().encode(text);
  const desc = describeBlob("text/plain", bytes);
  const writer = await stores.content
    .writer(call, { ref: desc.digest, size: desc.size })
    .catch(() => undefined);
  await writer?.write(bytes);
  await writer?.commit(desc.size, desc.digest).catch(() => undefined);
  if (title === undefined) return desc;
  return { ...desc, annotations: new Map([["org.opencontainers.image.title", title]]) };
}

function manifest(layers: readonly Descriptor[]): Manifest {
  const config = {
    mediaType: "application/vnd.oci.empty.v1+json",
    digest: parseDigest(`sha256:${"0".repeat(64)}`),
    size: 2n,
  };
  return {
    kind: "manifest",
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    artifactType: "application/vnd.test",
    config,
    layers,
    annotations: new Map(),
    subject: undefined,
  };
}

test("one file for each layer, by title or digest; again for the next container", async () => {
  const folder = join(dir, "good");
  const plain = await stored("plain");
  const doc = manifest([await stored("a", "model/weights.bin"), await stored("b", "LICENSE"), plain]);
  for (let i = 0; i < 2; i++) await writeArtifact(stores.content, call, doc, folder);
  assert.deepEqual(readdirSync(folder).sort(), ["LICENSE", "model", plain.digest.replace(":", "-")].sort());
  assert.equal(readFileSync(join(folder, "model/weights.bin"), "utf8"), "a");
  assert.equal(readFileSync(join(folder, plain.digest.replace(":", "-")), "utf8"), "plain");
});

test("names that lead out, or are there twice, are refused", async () => {
  for (const title of ["../x", "/x", "a//b", "a/./b", "..", "a/../../b", "nul\0"])
    await assert.rejects(
      async () => writeArtifact(stores.content, call, manifest([await stored("a", title)]), join(dir, "bad")),
      isInvalidArgument,
      JSON.stringify(title),
    );
  const twice = manifest([await stored("a", "x"), await stored("b", "x")]);
  await assert.rejects(writeArtifact(stores.content, call, twice, join(dir, "twice")), isInvalidArgument);
});
