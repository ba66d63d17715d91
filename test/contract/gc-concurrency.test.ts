/** Clients go on while garbage is collected: told by counts, not by times. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Digest } from "../../src/core/ids/digest.ts";
import { inNs, labelsOf, list, ns, tempFolder, writeBlob } from "./harness.ts";
import { folderBackend, openLocal } from "./local-stores.ts";
import { container } from "./samples.ts";

const BLOBS = 1_500;
const SNAPSHOTS = 500;
/** Objects that the collector may go through before the event loop gets a turn. */
const SLICE = 250;

test("creates begin and end between the slices of a collection of thousands of objects", async () => {
  const folder = await tempFolder();
  try {
    const files = folderBackend("native", join(folder.path, "native"));
    const made: string[] = [];
    let root: Digest | undefined;
    const backend = {
      ...files,
      // a create that had to wait for the end of the collection would hold up the collection: nothing would end
      async remove(call: Parameters<typeof files.remove>[0], id: bigint): Promise<void> {
        const name = `during-${id}`;
        await s.containers.create(ns, container(name, { snapshotter: "native", snapshotKey: "kept" }));
        made.push(name);
        root ??= await writeBlob(
          s.content,
          ns,
          Buffer.from("new"),
          labelsOf({ "containerd.io/gc.root": "1" }),
        );
        await files.remove(call, id);
      },
    };
    const s = await openLocal(folder.path, { backends: new Map([["native", backend]]), noSync: true });
    try {
      await s.leases.create(ns, "all", new Map());
      const held = inNs(ns.namespace, "all");
      const native = s.snapshotter("native");
      await native.prepare(ns, "kept", "", labelsOf({ "containerd.io/gc.root": "1" }));
      await Promise.all([
        ...Array.from({ length: BLOBS }, (_, i) => writeBlob(s.content, held, Buffer.from(`blob ${i}`))),
        ...Array.from({ length: SNAPSHOTS }, (_, i) => native.prepare(held, `s${i}`, "", new Map())),
      ]);
      await s.leases.delete(ns, "all");
      let turns = 0;
      let running = true;
      const count = (): void => {
        turns++;
        if (running) setImmediate(count);
      };
      setImmediate(count);
      await s.collect();
      running = false;
      assert.equal(made.length, SNAPSHOTS);
      // read, marked and swept in slices, each with a turn of the loop behind it
      assert.ok(turns >= (BLOBS + SNAPSHOTS) / SLICE, `${turns} turns of the event loop`);
      assert.deepEqual(
        (await s.containers.list(ns, [])).map((c) => String(c.id)).toSorted(),
        made.toSorted(),
      );
      const left = (await list(s.content.walk(ns, []))).map((blob) => blob.digest);
      assert.deepEqual(left, [root]);
      const names = (await list(native.walk(ns, []))).map((snapshot) => snapshot.name);
      assert.deepEqual(names, ["kept"]);
    } finally {
      await s.close();
    }
  } finally {
    await folder.remove();
  }
});
