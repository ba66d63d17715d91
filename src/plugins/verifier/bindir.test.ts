import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { inNs } from "../../../test/contract/harness.ts";
import { codeOf } from "../../core/errors.ts";
import { describe } from "../../oci/descriptors.ts";
import { OCI_MANIFEST } from "../../oci/media-types.ts";
import { bindirVerifier } from "./bindir.ts";

const target = describe(OCI_MANIFEST, new Uint8Array(3));

async function verdict(scripts: Readonly<Record<string, string>>, mode = 0o755): Promise<string> {
  const binDir = await mkdtemp(join(tmpdir(), "gantry-verifier-"));
  try {
    for (const [name, text] of Object.entries(scripts)) {
      await writeFile(join(binDir, name), `#!/bin/sh\n${text}\n`);
      await chmod(join(binDir, name), mode);
    }
    await bindirVerifier({ binDir, maxVerifiers: 10, timeoutMs: 500 }).verify(inNs("t"), "h/a:b", target);
    return "allowed";
  } catch (err) {
    assert.equal(codeOf(err), "permission-denied");
    return String(err);
  } finally {
    await rm(binDir, { recursive: true });
  }
}

test("every verifier must agree; name, digest and descriptor reach it", async () => {
  assert.equal(await verdict({}), "allowed");
  const check = `[ "$*" = "-name h/a:b -digest ${target.digest} -stdin-media-type application/vnd.oci.descriptor.v1+json" ] && grep -q '"size":3'`;
  assert.equal(await verdict({ a: check }), "allowed");
  assert.match(
    await verdict({ a: "exit 0", b: "echo unsigned; exit 3" }),
    /verifier "b" \(exit code 3\): unsigned/,
  );
});

test("a verifier that hangs, dies or cannot run refuses", async () => {
  assert.match(await verdict({ a: "sleep 60" }), /timed out/);
  assert.match(await verdict({ a: "kill -9 $$" }), /refused/);
  assert.match(await verdict({ a: "exit 0" }, 0o644), /not executable/);
});
