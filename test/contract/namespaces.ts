/** The namespace store's contract. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { NamespaceStore } from "../../src/core/namespaces/namespaces.ts";
import {
  inNs,
  labelsOf,
  type MakeStores,
  ns,
  ofClass,
  type Stores,
  withStores,
  writeBlob,
} from "./harness.ts";
import { container, image } from "./samples.ts";

/** Runs the suite. */
export function namespacesSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (namespaces: NamespaceStore, stores: Stores) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.namespaces, stores)));
  };

  describe(`namespaces: ${name}`, () => {
    on("create, get, list, delete", async (namespaces) => {
      assert.deepEqual(await namespaces.list(ns), []);
      await namespaces.create(ns, "b", labelsOf({ k: "v" }));
      await namespaces.create(ns, "a", new Map());
      assert.deepEqual(await namespaces.get(ns, "b"), { name: "b", labels: labelsOf({ k: "v" }) });
      assert.deepEqual(
        (await namespaces.list(ns)).map((n) => n.name),
        ["a", "b"],
      );
      await assert.rejects(namespaces.create(ns, "a", new Map()), ofClass("already-exists"));
      await namespaces.delete(ns, "a");
      await assert.rejects(namespaces.delete(ns, "a"), ofClass("not-found"));
    });

    on("one that does not exist has no labels; labels make it", async (namespaces) => {
      // what every Go client with a default namespace asks for when it connects
      assert.deepEqual(await namespaces.get(ns, "none"), { name: "none", labels: new Map() });
      assert.deepEqual(await namespaces.list(ns), []);
      await namespaces.update(ns, "made", labelsOf({ k: "v" }), ["labels.k"]);
      assert.deepEqual(await namespaces.list(ns), [{ name: "made", labels: labelsOf({ k: "v" }) }]);
    });

    on("names are identifiers; version is taken", async (namespaces) => {
      const bad = ["", "version", "-a", "a-", "a..b", "a/b", "ä", "a b", "x".repeat(77)];
      for (const name of bad)
        await assert.rejects(namespaces.create(ns, name, new Map()), ofClass("invalid-argument"), name);
      for (const name of ["a", "A-b.c_d", "0", "x".repeat(76)]) await namespaces.create(ns, name, new Map());
      await assert.rejects(
        namespaces.create(ns, "long", labelsOf({ k: "x".repeat(4096) })),
        ofClass("invalid-argument"),
      );
    });

    on("labels: replace, one key, removal", async (namespaces) => {
      await namespaces.create(ns, "a", labelsOf({ k1: "v1", k2: "v2" }));
      const set = async (record: Record<string, string>, fields: string[]): Promise<Record<string, string>> =>
        Object.fromEntries((await namespaces.update(ns, "a", labelsOf(record), fields)).labels);
      assert.deepEqual(await set({ k1: "new", k3: "x" }, ["labels.k1"]), { k1: "new", k2: "v2" });
      assert.deepEqual(await set({}, ["labels.k2"]), { k1: "new" });
      assert.deepEqual(await set({ "a.b/c": "dotted" }, ["labels.a.b/c"]), { k1: "new", "a.b/c": "dotted" });
      assert.deepEqual(await set({ k9: "v9" }, ["labels"]), { k9: "v9" });
      assert.deepEqual(await set({ k1: "v1", k2: "" }, []), { k1: "v1" });
      assert.deepEqual((await namespaces.get(ns, "a")).labels, labelsOf({ k1: "v1" }));
      await assert.rejects(namespaces.update(ns, "a", new Map(), ["name"]), ofClass("invalid-argument"));
    });

    on(
      "writing into a namespace makes it; it is not deleted while it holds something",
      async (namespaces, stores) => {
        const call = inNs("implicit");
        await stores.containers.create(
          call,
          container("c1", { snapshotter: "overlayfs", snapshotKey: "c1" }),
        );
        await stores.snapshotter("overlayfs").prepare(call, "c1", "", new Map());
        const digest = await writeBlob(stores.content, call, Buffer.from("x"));
        await stores.images.create(call, image("img", digest));
        assert.deepEqual(
          (await namespaces.list(ns)).map((n) => n.name),
          ["implicit"],
        );
        await assert.rejects(
          namespaces.delete(ns, "implicit"),
          ofClass(
            "failed-precondition",
            /namespace "implicit" must be empty, but it still has images, blobs, containers, snapshots on "overlayfs" snapshotter/,
          ),
        );
        await stores.images.delete(call, "img");
        await stores.content.delete(call, digest);
        await stores.containers.delete(call, "c1");
        await assert.rejects(
          namespaces.delete(ns, "implicit"),
          ofClass("failed-precondition", /still has snapshots/),
        );
        await stores.snapshotter("overlayfs").remove(call, "c1");
        await stores.leases.create(call, "left-over", new Map());
        await namespaces.delete(ns, "implicit");
        assert.deepEqual(await namespaces.list(ns), []);
        assert.deepEqual(await stores.leases.list(call, []), []);
      },
    );

    on("nothing is seen across namespaces", async (_namespaces, stores) => {
      const [a, b] = [inNs("a"), inNs("b")];
      const digest = await writeBlob(stores.content, a, Buffer.from("secret"));
      await stores.images.create(a, image("img", digest));
      await stores.containers.create(a, container("c1"));
      await stores.leases.create(a, "l1", new Map());
      await assert.rejects(stores.images.get(b, "img"), ofClass("not-found"));
      await assert.rejects(stores.containers.get(b, "c1"), ofClass("not-found"));
      await assert.rejects(stores.content.info(b, digest), ofClass("not-found"));
      await assert.rejects(stores.leases.listResources(b, "l1"), ofClass("not-found"));
      for (const items of [
        await stores.images.list(b, []),
        await stores.containers.list(b, []),
        await stores.leases.list(b, []),
      ])
        assert.deepEqual(items, []);
      await assert.rejects(stores.images.delete(b, "img"), ofClass("not-found"));
      await assert.rejects(stores.containers.delete(b, "c1"), ofClass("not-found"));
      // the same names again
      await stores.containers.create(b, container("c1"));
      await stores.leases.create(b, "l1", new Map());
      await stores.containers.delete(b, "c1");
      assert.equal((await stores.containers.get(a, "c1")).id, "c1");
    });
  });
}
