/** The lease manager's contract. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LeaseManager } from "../../src/core/leases/leases.ts";
import {
  digestOf,
  inNs,
  labelsOf,
  type MakeStores,
  ns,
  ofClass,
  type Stores,
  withStores,
  writeBlob,
} from "./harness.ts";

/** Runs the suite. */
export function leasesSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (leases: LeaseManager, stores: Stores) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.leases, stores)));
  };

  describe(`leases: ${name}`, () => {
    on("create, list, delete", async (leases) => {
      const a = await leases.create(ns, "a", labelsOf({ k: "v" }));
      const random = await leases.create(ns, "", new Map());
      assert.notEqual(random.id, "");
      assert.notEqual(random.id, (await leases.create(ns, "", new Map())).id);
      assert.deepEqual(await leases.list(ns, ["id==a"]), [a]);
      assert.deepEqual(await leases.list(ns, ["labels.k==v"]), [a]);
      assert.equal((await leases.list(ns, [])).length, 3);
      await assert.rejects(leases.create(ns, "a", new Map()), ofClass("already-exists", /lease "a"/));
      await leases.delete(ns, "a");
      await assert.rejects(leases.delete(ns, "a"), ofClass("not-found"));
    });

    on("resources of every type", async (leases) => {
      await leases.create(ns, "l", new Map());
      const digest = digestOf(Buffer.from("x"));
      const resources = [
        { type: "content", id: digest },
        { type: "images", id: "example.test/x:1" },
        { type: "ingests", id: "upload/1" },
        { type: "snapshots/overlayfs", id: "sha256:chain" },
      ];
      for (const r of resources) await leases.addResource(ns, "l", r);
      await leases.addResource(ns, "l", { type: "content", id: digest });
      assert.deepEqual(await leases.listResources(ns, "l"), resources);
      await leases.deleteResource(ns, "l", { type: "images", id: "example.test/x:1" });
      await leases.deleteResource(ns, "l", { type: "images", id: "example.test/x:1" });
      assert.equal((await leases.listResources(ns, "l")).length, 3);
      const bad: [string, string, "invalid-argument" | "not-implemented"][] = [
        ["content", "nonsense", "invalid-argument"],
        ["content/x", digest, "invalid-argument"],
        ["snapshots", "x", "invalid-argument"],
        ["snapshots/a/b", "x", "invalid-argument"],
        ["tasks", "x", "not-implemented"],
        ["overlayfs/x", "x", "not-implemented"],
      ];
      for (const [type, id, code] of bad)
        await assert.rejects(leases.addResource(ns, "l", { type, id }), ofClass(code), type);
      for (const call of [
        () => leases.addResource(ns, "missing", { type: "images", id: "x" }),
        () => leases.deleteResource(ns, "missing", { type: "images", id: "x" }),
        () => leases.listResources(ns, "missing"),
      ])
        await assert.rejects(call(), ofClass("not-found"));
      await leases.delete(ns, "l");
      await leases.create(ns, "l", new Map());
      assert.deepEqual(await leases.listResources(ns, "l"), []);
    });

    on("what a leased call makes is attached", async (leases, { content, snapshotter }) => {
      await leases.create(ns, "l", new Map());
      const call = inNs("testing", "l");
      const sn = snapshotter("overlayfs");
      const upload = await content.writer(call, { ref: "open" });
      await upload.close();
      const digest = await writeBlob(content, call, Buffer.from("leased"));
      await sn.prepare(call, "active", "", new Map());
      await sn.prepare(call, "tmp", "", new Map());
      await sn.commit(call, "committed", "tmp", new Map());
      assert.deepEqual(await leases.listResources(ns, "l"), [
        { type: "content", id: digest },
        { type: "ingests", id: "open" },
        { type: "snapshots/overlayfs", id: "active" },
        { type: "snapshots/overlayfs", id: "committed" },
      ]);
      await sn.remove(call, "active");
      await content.abort(call, "open");
      assert.equal((await leases.listResources(ns, "l")).length, 2);
      // finding a thing there already attaches it too
      await leases.create(ns, "m", new Map());
      const second = inNs("testing", "m");
      await assert.rejects(
        content.writer(second, { ref: "again", expected: digest }),
        ofClass("already-exists"),
      );
      await assert.rejects(sn.prepare(second, "committed", "", new Map()), ofClass("already-exists"));
      assert.deepEqual(await leases.listResources(ns, "m"), [
        { type: "content", id: digest },
        { type: "snapshots/overlayfs", id: "committed" },
      ]);
      await assert.rejects(
        writeBlob(content, inNs("testing", "missing"), Buffer.from("y")),
        ofClass("not-found"),
      );
      await assert.rejects(sn.prepare(inNs("testing", "missing"), "z", "", new Map()), ofClass("not-found"));
      await assert.rejects(sn.stat(ns, "z"), ofClass("not-found"));
    });
  });
}
