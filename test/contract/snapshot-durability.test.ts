/** Commits are answered before their flush; a machine that went down in between loses them cleanly, a killed daemon nothing. */
import { equal } from "node:assert/strict";
import { cp, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { noLabels } from "../../src/core/labels.ts";
import { noLog } from "../../src/core/log.ts";
import type { SnapshotBackend } from "../../src/core/snapshots/snapshotter.ts";
import { createDeferred } from "../../src/lib/deferred.ts";
import { SqliteMetadata } from "../../src/plugins/metadata/store.ts";
import { list, ns, tempFolder } from "./harness.ts";
import { folderBackend } from "./local-stores.ts";

/** Opens a store whose flushes are counted and may be held back. */
async function open(root: string, bootId: string, hold: Promise<void> | undefined) {
  const flushed = { count: 0 };
  const backend: SnapshotBackend = {
    ...folderBackend("overlayfs", join(root, "overlayfs")),
    async commit(_call, _snapshot, sync) {
      equal(sync, false, "a backend that can flush is not asked to sync in commit");
    },
    async flush() {
      await hold;
      flushed.count += 1;
    },
  };
  const store = await SqliteMetadata.open({
    root: join(root, "meta"),
    blobs: { root: join(root, "content") },
    backends: new Map([[backend.name, backend]]),
    log: noLog,
    shared: true,
    noSync: false,
    bootId,
  });
  return { store, snapshots: store.snapshotter("overlayfs"), flushed };
}

const names = async (opened: Awaited<ReturnType<typeof open>>): Promise<string[]> =>
  (await list(opened.snapshots.walk(ns, []))).map((info) => info.name);

test("commits wait for no flush, and are shared by one", async () => {
  const folder = await tempFolder();
  const hold = createDeferred<void>();
  const { store, snapshots, flushed } = await open(folder.path, "a", hold.promise);
  let parent = "";
  for (const name of ["one", "two", "three"]) {
    await snapshots.prepare(ns, `key-${name}`, parent, noLabels);
    await snapshots.commit(ns, name, `key-${name}`, noLabels);
    parent = name;
  }
  equal(flushed.count, 0);
  hold.resolve();
  await store.close();
  equal(flushed.count, 1);
  // flushed before the end: another boot keeps them
  const again = await open(folder.path, "b", undefined);
  equal((await names(again)).join(), "one,three,two");
  await again.store.close();
  await folder.remove();
});

test("unflushed snapshots outlive the daemon, not the machine", async () => {
  const folder = await tempFolder();
  const before = join(folder.path, "before");
  const safe = await open(before, "a", undefined);
  await safe.snapshots.prepare(ns, "key-safe", "", noLabels);
  await safe.snapshots.commit(ns, "safe", "key-safe", noLabels);
  await safe.store.close();
  const hold = createDeferred<void>();
  const running = await open(before, "a", hold.promise);
  await running.snapshots.prepare(ns, "key-layer", "safe", noLabels);
  await running.snapshots.commit(ns, "layer", "key-layer", noLabels);
  await running.snapshots.prepare(ns, "container", "layer", noLabels);
  await running.snapshots.prepare(ns, "other", "safe", noLabels);
  // what a killed daemon leaves
  const killed = join(folder.path, "killed");
  const crashed = join(folder.path, "crashed");
  await cp(before, killed, { recursive: true });
  await cp(before, crashed, { recursive: true });

  const restarted = await open(killed, "a", undefined);
  equal((await names(restarted)).join(), "container,layer,other,safe");
  await restarted.store.close();
  equal(restarted.flushed.count, 1);
  const later = await open(killed, "b", undefined);
  equal((await names(later)).join(), "container,layer,other,safe");
  await later.store.close();

  const booted = await open(crashed, "b", undefined);
  equal((await names(booted)).join(), "other,safe");
  await booted.store.reconcile(AbortSignal.timeout(60_000));
  equal((await readdir(join(crashed, "overlayfs"))).length, 2, "files of dropped rows are removed");
  await booted.store.close();

  hold.resolve();
  await running.store.close();
  await folder.remove();
});
