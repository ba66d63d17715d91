import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailedPrecondition, isNotFound } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import { ImageIndex, recordName, splitReferences } from "./image-index.ts";
import type { LoadedImage } from "./load.ts";

const hex = (start: string): string => start.padEnd(64, "0");
function loaded(start: string, pinned = false): LoadedImage {
  const id = parseDigest(`sha256:${hex(start)}`);
  const target = { mediaType: "m", digest: id, size: 1n };
  return {
    id,
    manifest: {
      kind: "manifest",
      mediaType: "m",
      artifactType: undefined,
      config: target,
      layers: [],
      annotations: new Map(),
      subject: undefined,
    },
    target,
    config: undefined,
    chainId: undefined,
    size: 1n,
    pinned,
  };
}

test("look-ups: reference, short name, id, prefix", () => {
  const index = new ImageIndex();
  const a = loaded("aa11");
  const b = loaded("aa22");
  index.set("docker.io/library/one:latest", a);
  index.set(a.id, a);
  index.set(`host.test/two@sha256:${hex("f")}`, b);
  for (const name of [
    "docker.io/library/one:latest",
    "one",
    "one:latest",
    a.id,
    "aa11",
    "sha256:aa11",
    hex("aa11"),
  ])
    assert.equal(index.resolve(name).id, a.id, name);
  assert.equal(index.resolve(`host.test/two:tag@sha256:${hex("f")}`).id, b.id);
  assert.throws(() => index.resolve("aa"), isFailedPrecondition);
  for (const name of ["bb", "", "two", "one:other", "sha256:", "Not A Name", hex("aa33")])
    assert.throws(() => index.resolve(name), isNotFound, JSON.stringify(name));
});

test("an image lives as long as one of its names", () => {
  const index = new ImageIndex();
  const a = loaded("a");
  const b = loaded("b");
  index.set("h.test/x:1", a);
  index.set("h.test/x:2", a);
  index.set("h.test/x:1", b);
  assert.deepEqual(index.resolve(a.id).references, ["h.test/x:2"]);
  index.set("h.test/x:2", b);
  assert.throws(() => index.resolve(a.id), isNotFound);
  assert.deepEqual(
    index.list().map((i) => i.references),
    [["h.test/x:1", "h.test/x:2"]],
  );
  index.delete("h.test/x:1");
  index.delete("h.test/x:2");
  index.delete("h.test/x:2");
  assert.deepEqual(index.list(), []);
});

test("tags come first, the id last; one pinned name pins", () => {
  const index = new ImageIndex();
  const a = loaded("a");
  const digest = `h.test/x@${a.id}`;
  index.set(a.id, a);
  index.set(digest, a);
  index.set("h.test/x:2", loaded("a", true));
  index.set("h.test/x:1", a);
  const [image] = index.list();
  assert.deepEqual(image?.references, ["h.test/x:1", "h.test/x:2", digest, a.id]);
  assert.equal(image?.pinned, true);
  index.set("h.test/x:2", a);
  assert.equal(index.resolve(a.id).pinned, false);
});

test("names of records: complete, and a digest makes the tag void", () => {
  const digest = `sha256:${hex("c")}`;
  assert.equal(recordName("busybox"), "docker.io/library/busybox:latest");
  assert.equal(recordName(`h.test/x:1@${digest}`), `h.test/x@${digest}`);
  assert.throws(() => recordName(hex("a")), /64 digit/);
  assert.deepEqual(splitReferences(["h.test/x:1", `h.test/x@${digest}`, digest, "%%"]), {
    tags: ["h.test/x:1"],
    digests: [`h.test/x@${digest}`],
  });
});
