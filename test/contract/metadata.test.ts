/** What only the local stores promise: agreement of files and rows over restarts and crashes, events, nothing left over. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { mkdir, readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { NamespacedCall } from "../../src/core/call.ts";
import type { EventPublisher } from "../../src/core/events/events.ts";
import { inNs, labelsOf, ns, ofClass, randomBlob, readBlob, tempFolder, writeBlob } from "./harness.ts";
import { openLocal } from "./local-stores.ts";
import { container, image } from "./samples.ts";

async function inFolder(body: (root: string) => Promise<void>): Promise<void> {
  const folder = await tempFolder();
  try {
    await body(folder.path);
  } finally {
    await folder.remove();
  }
}

const keep = labelsOf({ "containerd.io/gc.root": "" });

describe("metadata, local", () => {
  test("everything is there after a restart", () =>
    inFolder(async (root) => {
      let s = await openLocal(root);
      const digest = await writeBlob(s.content, ns, Buffer.from("x"), keep);
      await s.images.create(ns, image("img", digest));
      await s.containers.create(ns, container("c", { snapshotter: "overlayfs", snapshotKey: "c" }));
      await s.snapshotter("overlayfs").prepare(ns, "c", "", new Map());
      await s.leases.create(ns, "l", new Map());
      const upload = await s.content.writer(ns, { ref: "half" });
      await upload.write(Buffer.from("12345"));
      await upload.close();
      const before = [
        await s.images.list(ns, []),
        await s.containers.list(ns, []),
        await s.leases.list(ns, []),
      ];
      await s.close();
      s = await openLocal(root);
      await s.metadata.reconcile(new AbortController().signal);
      await s.collect();
      assert.deepEqual(
        [await s.images.list(ns, []), await s.containers.list(ns, []), await s.leases.list(ns, [])],
        before,
      );
      assert.equal((await s.snapshotter("overlayfs").mounts(ns, "c")).length, 1);
      const again = await s.content.writer(ns, { ref: "half" });
      assert.equal(again.status().offset, 5n);
      await again.write(Buffer.from("6"));
      await readBlob(s.content, ns, await again.commit(6n, undefined));
      await s.close();
    }));

  test("a start removes files without rows, and forgets blobs without their bytes after a crash (R1)", () =>
    inFolder(async (root) => {
      let s = await openLocal(root);
      const [whole, short, gone] = [randomBlob(1000), randomBlob(1000), randomBlob(1000)];
      for (const blob of [whole, short, gone]) await writeBlob(s.content, ns, blob.data, keep);
      await s.snapshotter("native").prepare(ns, "mine", "", keep);
      await s.close();
      const blobs = join(root, "content", "blobs", "sha256");
      await truncate(join(blobs, short.digest.slice(7)), 0);
      await (await import("node:fs/promises")).rm(join(blobs, gone.digest.slice(7)));
      await writeFile(join(blobs, "a".repeat(64)), "orphan");
      await mkdir(join(root, "content", "ingest", "99"));
      await mkdir(join(root, "native", "77"));
      await writeFile(join(root, "meta", "meta.sqlite.open"), "");
      s = await openLocal(root);
      await s.metadata.reconcile(new AbortController().signal);
      assert.deepEqual(await readdir(join(root, "content", "ingest")), []);
      assert.deepEqual(
        (await readdir(blobs)).toSorted(),
        [short, whole].map((b) => b.digest.slice(7)).toSorted(),
      );
      assert.equal((await readdir(join(root, "native"))).length, 1);
      await s.content.info(ns, whole.digest);
      for (const blob of [short, gone]) {
        await assert.rejects(s.content.info(ns, blob.digest), ofClass("not-found"));
        await writeBlob(s.content, ns, blob.data, keep);
        assert.deepEqual(await readBlob(s.content, ns, blob.digest), Buffer.from(blob.data));
      }
      // an id that a lost row may have had is not given out again
      await s.snapshotter("native").prepare(ns, "next", "", keep);
      assert.ok((await readdir(join(root, "native"))).every((id) => Number(id) < 77 || Number(id) > 77));
      await s.close();
    }));

  test("a fetch heals a blob whose file was cut short while the daemon ran", () =>
    inFolder(async (root) => {
      const s = await openLocal(root);
      const blob = randomBlob(500);
      await writeBlob(s.content, ns, blob.data, keep);
      await truncate(join(root, "content", "blobs", "sha256", blob.digest.slice(7)), 10);
      await writeBlob(s.content, ns, blob.data, keep);
      assert.deepEqual(await readBlob(s.content, ns, blob.digest), Buffer.from(blob.data));
      await s.close();
    }));

  test("after a database was lost, files without rows are kept and ids are not reused (R2)", () =>
    inFolder(async (root) => {
      let s = await openLocal(root);
      const blob = randomBlob(100);
      await writeBlob(s.content, ns, blob.data, keep);
      for (const key of ["a", "b"]) await s.snapshotter("native").prepare(ns, key, "", keep);
      await s.close();
      await writeFile(
        join(root, "meta", "meta.sqlite"),
        "not a database at all, and longer than a header".repeat(50),
      );
      s = await openLocal(root);
      await s.metadata.reconcile(new AbortController().signal);
      assert.equal((await readdir(join(root, "content", "blobs", "sha256"))).length, 1);
      await s.snapshotter("native").prepare(ns, "c", "", keep);
      assert.deepEqual((await readdir(join(root, "native"))).toSorted(), ["1", "2", "3"]);
      await s.close();
    }));

  test("damaged records pause no collection, and what they name stays", () =>
    inFolder(async (root) => {
      let s = await openLocal(root);
      const [held, waste, target] = await Promise.all(
        ["held", "waste", "target"].map((text) => writeBlob(s.content, ns, Buffer.from(text), keep)),
      );
      assert.ok(held !== undefined && waste !== undefined && target !== undefined);
      for (const digest of [held, waste, target]) await s.content.update(ns, digest, new Map(), []);
      const gc = { "containerd.io/gc.ref.content.x": held };
      await s.images.create(ns, { ...image("damaged", target), labels: labelsOf(gc) });
      await s.containers.create(
        ns,
        container("c", { snapshotter: "overlayfs", snapshotKey: "c", labels: labelsOf(gc) }),
      );
      const sn = s.snapshotter("overlayfs");
      await sn.prepare(ns, "base-key", "", new Map());
      await sn.commit(ns, "base", "base-key", labelsOf(gc));
      await sn.prepare(ns, "c", "base", new Map());
      await s.close();
      const path = readdirSync(root, { recursive: true, encoding: "utf8" }).find((p) =>
        p.endsWith("meta.sqlite"),
      );
      const { DatabaseSync } = await import("node:sqlite");
      const db = new DatabaseSync(join(root, path ?? ""));
      // cut in the middle, with the digests still readable
      for (const table of ["images", "containers", "snapshots"])
        db.exec(`UPDATE ${table} SET labels = substr(labels, 1, length(labels) - 2)`);
      db.close();
      s = await openLocal(root);
      for (let run = 0; run < 3; run++) {
        await s.collect();
        await s.metadata.reconcile(new AbortController().signal);
        await assert.rejects(s.content.info(ns, waste), ofClass("not-found"));
        for (const digest of [held, target]) await readBlob(s.content, ns, digest);
        assert.equal((await s.snapshotter("overlayfs").mounts(ns, "c")).length, 1);
        assert.equal((await s.snapshotter("overlayfs").stat(ns, "c")).parent, "base");
        assert.equal((await s.snapshotter("overlayfs").stat(ns, "base")).labels.size, 0);
      }
      assert.deepEqual(await s.images.list(ns, []), []);
      await s.close();
    }));

  test("events follow commits, and a broken publisher fails nothing", () =>
    inFolder(async (root) => {
      const seen: string[] = [];
      const events: EventPublisher = {
        send(call: NamespacedCall, topic, payload) {
          seen.push(
            `${call.namespace} ${topic} ${JSON.stringify(payload, (_, v) => (typeof v === "bigint" ? String(v) : v))}`,
          );
          throw new Error("broken");
        },
      };
      const s = await openLocal(root, { events });
      const sn = s.snapshotter("overlayfs");
      await s.namespaces.create(ns, "n", labelsOf({ a: "b" }));
      await s.namespaces.delete(ns, "n");
      const digest = await writeBlob(s.content, ns, Buffer.from("x"), keep);
      await s.images.create(ns, image("i", digest));
      await s.images.update(ns, image("i", digest, { k: "v" }), []);
      await sn.prepare(ns, "p", "", new Map());
      await sn.commit(ns, "c", "p", new Map());
      await sn.view(ns, "v", "c", new Map());
      await s.containers.create(ns, container("c1"));
      await s.containers.update(ns, container("c1", { image: "i" }), []);
      await s.containers.delete(ns, "c1");
      await assert.rejects(s.containers.delete(ns, "c1"));
      await s.images.delete(ns, "i");
      await s.content.delete(ns, digest);
      await sn.remove(ns, "v");
      await s.collect();
      assert.deepEqual(seen, [
        'n /namespaces/create {"name":"n","labels":{"a":"b"}}',
        'n /namespaces/delete {"name":"n"}',
        `testing /content/create {"digest":"${digest}","size":"1"}`,
        'testing /images/create {"name":"i","labels":{}}',
        'testing /images/update {"name":"i","labels":{"k":"v"}}',
        'testing /snapshot/prepare {"key":"p","parent":"","snapshotter":"overlayfs"}',
        'testing /snapshot/commit {"key":"p","name":"c","snapshotter":"overlayfs"}',
        'testing /containers/create {"id":"c1","image":"","runtime":{"name":"io.containerd.runc.v2"}}',
        'testing /containers/update {"id":"c1","image":"i","labels":{},"snapshotKey":""}',
        'testing /containers/delete {"id":"c1"}',
        'testing /images/delete {"name":"i"}',
        `testing /content/delete {"digest":"${digest}"}`,
        'testing /snapshot/remove {"key":"v","snapshotter":"overlayfs"}',
        'testing /snapshot/remove {"key":"c","snapshotter":"overlayfs"}',
      ]);
      await s.close();
    }));

  test("bytes another process writes: adopt, resume, mismatch, sharing", () =>
    inFolder(async (root) => {
      const s = await openLocal(root);
      const { content } = s.metadata;
      const blob = randomBlob(300);
      const options = { ref: "ext", size: 300n, expected: blob.digest };
      let ext = await content.externalWriter(ns, options);
      await assert.rejects(content.externalWriter(ns, options), ofClass("unavailable"));
      await writeFile(ext.path, blob.data.subarray(0, 100), { flag: "a" });
      ext.progress(100n);
      assert.equal((await content.status(ns, "ext")).offset, 100n);
      await ext[Symbol.asyncDispose]();
      ext = await content.externalWriter(ns, options);
      assert.equal(ext.offset, 100n);
      await writeFile(ext.path, blob.data.subarray(100), { flag: "a" });
      await assert.rejects(
        ext.adopt(300n, randomBlob(1).digest, blob.digest),
        ofClass("failed-precondition", /unexpected commit digest/),
      );
      ext = await content.externalWriter(ns, options);
      assert.equal(ext.offset, 300n);
      assert.equal(await ext.adopt(300n, blob.digest, blob.digest, keep), blob.digest);
      assert.deepEqual(await readBlob(content, ns, blob.digest), Buffer.from(blob.data));
      await assert.rejects(content.externalWriter(ns, options), ofClass("already-exists"));
      // another namespace gets it at once under the shared policy
      await assert.rejects(content.externalWriter(inNs("other"), options), ofClass("already-exists"));
      assert.equal((await content.info(inNs("other"), blob.digest)).size, 300n);
      const dropped = await content.externalWriter(ns, { ref: "dropped" });
      await dropped.abort();
      await assert.rejects(content.status(ns, "dropped"), ofClass("not-found"));
      assert.deepEqual(await readdir(join(root, "content", "ingest")), []);
      await s.close();
    }));
});
