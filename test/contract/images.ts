/** The image store's contract. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Digest } from "../../src/core/ids/digest.ts";
import type { ImageInput, ImageStore } from "../../src/core/images/images.ts";
import { digestOf, labelsOf, type MakeStores, ns, ofClass, withStores } from "./harness.ts";
import { image } from "./samples.ts";

const one = digestOf(Buffer.from("one"));
const two = digestOf(Buffer.from("two"));

/** Runs the suite. */
export function imagesSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (images: ImageStore) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.images)));
  };

  describe(`images: ${name}`, () => {
    on("what is stored comes back", async (images) => {
      const input: ImageInput = {
        name: "example.test/a/b:tag@x y",
        labels: labelsOf({ k: "v" }),
        target: {
          mediaType: "application/vnd.oci.image.index.v1+json",
          digest: one,
          size: 9007199254740993n,
          annotations: new Map([["a", "b"]]),
        },
      };
      const made = await images.create(ns, input);
      assert.equal(made.createdAt, made.updatedAt);
      assert.deepEqual(await images.get(ns, input.name), made);
      assert.equal(made.target.size, 9007199254740993n);
      await assert.rejects(images.create(ns, input), ofClass("already-exists"));
      await images.delete(ns, input.name);
      await assert.rejects(images.delete(ns, input.name), ofClass("not-found"));
      await assert.rejects(images.get(ns, input.name), ofClass("not-found"));
    });

    on("what is refused", async (images) => {
      const target = image("a", one).target;
      const bad: [ImageInput, RegExp][] = [
        [image("", one), /image name must not be empty/],
        [image("a", "sha256:xyz" as Digest), /target.Digest "sha256:xyz" invalid/],
        [{ ...image("a", one), target: { ...target, size: 0n } }, /target.Size must be greater than zero/],
        [{ ...image("a", one), target: { ...target, mediaType: "" } }, /target.MediaType must be set/],
        [image("a", one, { k: "x".repeat(4096) }), /image.Labels/],
      ];
      for (const [input, text] of bad)
        await assert.rejects(images.create(ns, input), ofClass("invalid-argument", text));
    });

    on("a given time is used for both timestamps", async (images) => {
      const made = await images.create(ns, image("a", one), 1_234n);
      assert.deepEqual([made.createdAt, made.updatedAt], [1_234n, 1_234n]);
      const updated = await images.update(ns, image("a", two), [], 5_678n);
      assert.deepEqual([updated.createdAt, updated.updatedAt], [1_234n, 5_678n]);
    });

    on("list filters", async (images) => {
      await images.create(ns, image("b", two, { x: "1" }));
      await images.create(ns, image("a", one));
      const names = async (...filters: string[]): Promise<string[]> =>
        (await images.list(ns, filters)).map((i) => i.name);
      assert.deepEqual(await names(), ["a", "b"]);
      assert.deepEqual(await names("name==a"), ["a"]);
      assert.deepEqual(await names(`target.digest==${two}`), ["b"]);
      assert.deepEqual(await names("target.digest~=^sha256:"), ["a", "b"]);
      assert.deepEqual(await names("target.mediatype==application/vnd.oci.image.manifest.v1+json,labels.x"), [
        "b",
      ]);
      assert.deepEqual(await names("annotations.x"), []);
      await assert.rejects(names("name=="), ofClass("invalid-argument"));
    });

    on("update: field masks", async (images) => {
      const withAnnotations = (digest: Digest, record: Record<string, string>): ImageInput => {
        const base = image("a", digest, { [`l-${digest === one ? 1 : 2}`]: "v" });
        return { ...base, target: { ...base.target, annotations: labelsOf(record) } };
      };
      const old = withAnnotations(one, { a1: "v1", a2: "v2" });
      const next = withAnnotations(two, { a1: "new", a3: "v3" });
      await images.create(ns, old);
      const cases: [
        fields: string[],
        digest: Digest,
        labels: string[],
        annotations: Record<string, string>,
      ][] = [
        [["labels"], one, ["l-2"], { a1: "v1", a2: "v2" }],
        [["labels.l-2"], one, ["l-1", "l-2"], { a1: "v1", a2: "v2" }],
        [["labels.l-1"], one, [], { a1: "v1", a2: "v2" }],
        [["target"], two, ["l-1"], { a1: "new", a3: "v3" }],
        [["annotations"], one, ["l-1"], { a1: "new", a3: "v3" }],
        [["annotations.a1"], one, ["l-1"], { a1: "new", a2: "v2" }],
        [["annotations.a2"], one, ["l-1"], { a1: "v1" }],
        [[], two, ["l-2"], { a1: "new", a3: "v3" }],
      ];
      for (const [fields, digest, labels, annotations] of cases) {
        const updated = await images.update(ns, next, fields);
        assert.equal(updated.target.digest, digest, fields.join());
        assert.deepEqual([...updated.labels.keys()].toSorted(), labels, fields.join());
        assert.deepEqual(updated.target.annotations, labelsOf(annotations), fields.join());
        assert.deepEqual(await images.get(ns, "a"), updated);
        await images.update(ns, old, []);
      }
      await assert.rejects(images.update(ns, next, ["name"]), ofClass("invalid-argument"));
      await assert.rejects(images.update(ns, image("missing", one), []), ofClass("not-found"));
      await assert.rejects(images.update(ns, image("", one), []), ofClass("invalid-argument"));
    });

    on("delete only while it points there", async (images) => {
      await images.create(ns, image("a", one));
      await assert.rejects(
        images.delete(ns, "a", { target: two }),
        ofClass("not-found", /has target .*, not/),
      );
      await images.delete(ns, "a", { target: one });
      await assert.rejects(images.get(ns, "a"), ofClass("not-found"));
    });
  });
}
