import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { containerInput, type SpecCase } from "../../../test/fakes/cri-spec.ts";
import { isFailedPrecondition, isNotFound } from "../../core/errors.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { classFiles, withClasses } from "./classes.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-classes-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const file = join(dir, "blockio.yaml");
writeFileSync(file, "Classes:\n  gold:\n    - Weight: 400\n  slow:\n    - Weight: 20\n");

async function blockio(c: SpecCase, blockioConfigFile = file, ignore = false): Promise<unknown> {
  const { config, pod, settings } = containerInput(c);
  const spec: Spec = { ociVersion: "1.0.2" };
  const said: string[] = [];
  const all = { ...settings, ignoreBlockioNotEnabledErrors: ignore, blockioConfigFile };
  await withClasses(spec, config, pod.config, all, (text) => said.push(text));
  return ignore ? said : spec.linux?.resources?.blockIO;
}
const domain = "blockio.resources.beta.kubernetes.io";

test("the nearest annotation counts", async () => {
  const pod = { annotations: { [`${domain}/pod`]: "gold" } };
  assert.equal(await blockio({}), undefined);
  assert.deepEqual(await blockio({ pod }), { weight: 400 });
  const named = { annotations: { ...pod.annotations, [`${domain}/container.app`]: "slow" } };
  assert.deepEqual(await blockio({ pod: named }), { weight: 20 });
  const own = { annotations: { "io.kubernetes.cri.blockio-class": "gold" } };
  assert.deepEqual(await blockio({ pod: named, container: own }), { weight: 400 });
  const none = { annotations: { "io.kubernetes.cri.blockio-class": "" } };
  assert.equal(await blockio({ pod: named, container: none }), undefined);
});

test("what is off, unknown or unreadable", async () => {
  const pod = { annotations: { [`${domain}/pod`]: "gold" } };
  await assert.rejects(blockio({ pod }, ""), isFailedPrecondition);
  assert.match(String(await blockio({ pod }, "", true)), /blockio disabled, refusing to set blockio class/);
  await assert.rejects(blockio({ pod: { annotations: { [`${domain}/pod`]: "none" } } }), isNotFound);
  await assert.rejects(blockio({ pod }, "/nonexistent"), /read blockio_config_file "\/nonexistent"/);
});

test("files of the daemon's configuration", () => {
  const table = { blockio_config_file: "/b", rdt_config_file: "/r" };
  assert.deepEqual(classFiles({ plugins: { "io.containerd.service.v1.tasks-service": table } }), {
    blockioConfigFile: "/b",
    rdtConfigFile: "/r",
  });
  assert.deepEqual(classFiles({}), { blockioConfigFile: "", rdtConfigFile: "" });
});
