/** The snapshotter's contract: containerd's twenty-one cases, with real mounts where the snapshotter has them. */
import assert from "node:assert/strict";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Labels } from "../../src/core/any.ts";
import type { SnapshotInfo, SnapshotKind, Snapshotter } from "../../src/core/snapshots/snapshotter.ts";
import { nowNs } from "../../src/lib/time.ts";
import { withTempMount } from "../../src/platform/mounts/mounts.ts";
import { inNs, labelsOf, list, type MakeStores, ns, ofClass, tempFolder, withStores } from "./harness.ts";
import { chown, dir, file, link, listTree, remove, rename, type Step } from "./tree.ts";

/** What differs between snapshotters. */
export interface SnapshotterTraits {
  readonly name: string;
  /** False when the mounts cannot be mounted here (no root, a stand-in backend). */
  readonly mounts: boolean;
  /** False where a directory of a lower layer cannot be renamed (overlayfs without redirect_dir). */
  readonly renamesDirectories: boolean;
  /** Layers of the deep test. */
  readonly depth?: number;
  /** True where a snapshot is one file with a file system in it: usage does not know what is inside. */
  readonly wholeFiles?: boolean;
}

const opt: Labels = labelsOf({ "containerd.io/gc.root": "2026-01-01T00:00:00Z" });
const SLACK = 1_000_000n;

/** Runs the suite. */
export function snapshotterSuite(traits: SnapshotterTraits, make: MakeStores): void {
  const on = (title: string, body: (sn: Snapshotter) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.snapshotter(traits.name))));
  };
  const onMounts = (title: string, body: (sn: Snapshotter) => Promise<void>): void => {
    test(title, { skip: !traits.mounts, timeout: 120_000 }, () =>
      withStores(make, (stores) => body(stores.snapshotter(traits.name))),
    );
  };
  const layers = (title: string, ...changes: Step[][]): void =>
    onMounts(title, (sn) => checkLayers(sn, changes));

  describe(`snapshotter: ${traits.name}`, () => {
    onMounts("Basic", (sn) => checkBasic(sn, traits.wholeFiles === true ? 1n : 5n));
    on("StatActive", async (sn) => {
      await sn.prepare(ns, "preparing", "", opt);
      const info = await sn.stat(ns, "preparing");
      assert.deepEqual([info.name, info.kind, info.parent], ["preparing", "active", ""]);
    });
    on("StatCommitted", async (sn) => {
      await base(sn, "committed", "");
      const info = await sn.stat(ns, "committed");
      assert.deepEqual([info.name, info.kind, info.parent], ["committed", "committed", ""]);
      assert.ok((await sn.usage(ns, "committed")).inodes >= 1n);
    });
    on("Transitivity", async (sn) => {
      await base(sn, "a", "");
      await base(sn, "b", "a");
      assert.equal((await sn.stat(ns, "a")).parent, "");
      assert.equal((await sn.stat(ns, "b")).parent, "a");
      assert.equal((await sn.stat(ns, (await sn.stat(ns, "b")).parent)).parent, "");
    });
    on("PrepareViewFailing: a key is used once", async (sn) => {
      await base(sn, "a", "");
      await sn.prepare(ns, "new", "a", opt);
      await assert.rejects(sn.view(ns, "new", "a", opt), ofClass("already-exists"));
      await assert.rejects(sn.prepare(ns, "new", "a", opt), ofClass("already-exists"));
      await sn.view(ns, "view", "a", opt);
      await assert.rejects(sn.view(ns, "view", "a", opt), ofClass("already-exists"));
      await assert.rejects(
        sn.prepare(ns, "x", "missing", opt),
        ofClass("not-found", /parent snapshot missing does not exist/),
      );
      await assert.rejects(sn.prepare(ns, "x", "new", opt), ofClass("invalid-argument"));
      await assert.rejects(sn.prepare(ns, "", "", opt), ofClass("invalid-argument"));
    });
    on("Update", checkUpdate);
    on("Remove: keys and names can be used again", async (sn) => {
      await base(sn, "committed-1", "");
      await sn.prepare(ns, "reuse-1", "committed-1", opt);
      await sn.remove(ns, "reuse-1");
      await sn.view(ns, "reuse-1", "committed-1", opt);
      await sn.remove(ns, "reuse-1");
      await sn.prepare(ns, "reuse-1", "", opt);
      await sn.remove(ns, "committed-1");
      await sn.commit(ns, "committed-1", "reuse-1", opt);
      await assert.rejects(sn.remove(ns, "reuse-1"), ofClass("not-found"));
    });
    on("Walk: filters", checkWalk);
    layers(
      "LayerFileUpdate",
      [dir("etc", 0o700), file("etc/hosts", "a 10.0.0.1"), file("etc/profile", "PATH=/usr/bin")],
      [
        file("etc/hosts", "a 10.0.0.2"),
        file("etc/profile", "PATH=/usr/bin", 0o666),
        dir("root", 0o700),
        file("root/.bashrc", "PATH=/usr/sbin"),
      ],
    );
    layers(
      "RemoveDirectoryInLowerLayer",
      [dir("lib", 0o700), file("lib/hidden", "")],
      [remove("lib"), dir("lib", 0o700), file("lib/not-hidden", "")],
      [file("lib/newfile", "")],
    );
    layers(
      "Chown",
      [dir("opt", 0o700), dir("opt/a", 0o700), dir("opt/a/b", 0o700), file("opt/a/b/file.txt", "hello")],
      [chown("opt", 1, 1), chown("opt/a", 1, 1), chown("opt/a/b", 1, 1), chown("opt/a/b/file.txt", 1, 1)],
    );
    layers(
      "DirectoryPermissionOnCommit",
      [
        ...["dir1", "dir2", "dir3", "dir4", "dir5"].map((name) => dir(name, 0o700)),
        file("dir4/f1", "..."),
        file("dir5/f1", "..."),
        ...["dir1", "dir2", "dir3", "dir5", "dir5/f1"].map((name) => chown(name, 1, 1)),
      ],
      [chown("dir2", 0, 0), remove("dir3"), chown("dir4", 1, 1), chown("dir4/f1", 1, 1)],
      [dir("dir3", 0o700), chown("dir3", 1, 1), remove("dir5"), dir("dir5", 0o700), chown("dir5", 1, 1)],
    );
    on("RemoveIntermediateSnapshot", async (sn) => {
      await base(sn, "base", "");
      await base(sn, "middle", "base");
      await sn.prepare(ns, "top", "middle", opt);
      await assert.rejects(
        sn.remove(ns, "middle"),
        ofClass("failed-precondition", /cannot remove snapshot with child/),
      );
      for (const name of ["top", "middle", "base"]) await sn.remove(ns, name);
    });
    layers(
      "DeletedFilesInChild",
      [file("foo", "foo", 0o777), file("foobar", "foobar", 0o777)],
      [remove("foobar")],
      [],
    );
    layers(
      "MoveFileFromLowerLayer",
      [dir("dir1", 0o700), file("dir1/f1", "Hello"), dir("dir2", 0o700), file("dir2/f2", "...")],
      [
        dir("dir3", 0o700),
        file("dir3/f1", "Hello"),
        remove("dir1"),
        link("dir2/f2", "dir3/f2"),
        remove("dir2/f2"),
      ],
    );
    onMounts("ViewReadonly", async (sn) => {
      await base(sn, "a", "");
      for (const parent of ["", "a"]) {
        await withTempMount(await sn.view(ns, `view-${parent}`, parent, opt), (path) => {
          assert.throws(() => writeFileSync(join(path, "testfile"), "x"), { code: "EROFS" });
        });
        await sn.remove(ns, `view-${parent}`);
      }
    });
    on("StatInWalk: the snapshotter may be used while it is walked", async (sn) => {
      await family(sn);
      let seen = 0;
      for await (const info of sn.walk(ns, [])) {
        assert.deepEqual(await sn.stat(ns, info.name), info);
        await sn.update(ns, info.name, labelsOf({ seen: "yes" }), ["labels.seen"]);
        seen++;
      }
      assert.equal(seen, 6);
    });
    test("CloseTwice", async () => {
      const stores = await make();
      const sn = stores.snapshotter(traits.name);
      await base(sn, "a", "");
      await sn.remove(ns, "a");
      await sn.cleanup(ns);
      await stores.close();
      await stores.close();
    });
    onMounts("RootPermission", async (sn) => {
      await withTempMount(await sn.prepare(ns, "a", "", opt), (path) => {
        assert.equal(statSync(path).mode & 0o777, 0o755);
      });
    });
    layers(
      "Rename",
      [
        dir("dir1", 0o700),
        dir("somefiles", 0o700),
        file("somefiles/f1", "was here first!"),
        file("somefiles/f2", "nothing"),
      ],
      [
        ...(traits.renamesDirectories ? [rename("dir1", "dir2")] : []),
        file("somefiles/f1-new", "new content 1"),
        rename("somefiles/f1-new", "somefiles/f1"),
        rename("somefiles/f2", "somefiles/f3"),
      ],
    );
    const depth = traits.depth ?? 128;
    layers(
      `${depth}LayersMount`,
      [
        file("bottom", "way at the bottom"),
        file("overwriteme", "FIRST!"),
        dir("addhere"),
        dir("onlyme"),
        file("onlyme/bottom", "bye"),
      ],
      ...Array.from({ length: depth - 1 }, (_, i) => [
        file("overwriteme", `${i} was here`),
        file(`addhere/file-${i}`, "same"),
        remove("onlyme"),
        dir("onlyme"),
        file(`onlyme/file-${i}`, "only me"),
      ]),
    );

    on("Commit: what can go wrong", async (sn) => {
      await base(sn, "a", "");
      await sn.view(ns, "v", "a", opt);
      await sn.prepare(ns, "p", "a", opt);
      await assert.rejects(sn.commit(ns, "x", "missing", opt), ofClass("not-found"));
      await assert.rejects(sn.commit(ns, "x", "v", opt), ofClass("failed-precondition"));
      await assert.rejects(sn.commit(ns, "x", "a", opt), ofClass("failed-precondition"));
      await assert.rejects(sn.commit(ns, "a", "p", opt), ofClass("already-exists"));
      await assert.rejects(sn.mounts(ns, "missing"), ofClass("not-found"));
      assert.deepEqual(await sn.mounts(ns, "p"), await sn.mounts(ns, "p"));
      await sn.commit(ns, "x", "p", opt);
      await assert.rejects(sn.mounts(ns, "p"), ofClass("not-found"));
    });
    on("Namespaces do not see each other's snapshots", async (sn) => {
      const other = inNs("other");
      await base(sn, "a", "");
      await assert.rejects(sn.stat(other, "a"), ofClass("not-found"));
      await assert.rejects(sn.prepare(other, "x", "a", opt), ofClass("not-found"));
      await sn.prepare(other, "a", "", opt);
      assert.equal((await sn.stat(other, "a")).kind, "active");
      assert.equal((await list(sn.walk(other, []))).length, 1);
      await sn.remove(other, "a");
      assert.equal((await sn.stat(ns, "a")).kind, "committed");
    });
    on("Prepare with a target that is there answers already-exists", async (sn) => {
      await base(sn, "sha256:layer", "");
      const labels = labelsOf({ "containerd.io/snapshot.ref": "sha256:layer" });
      await assert.rejects(
        sn.prepare(ns, "extract", "", labels),
        ofClass("already-exists", /target snapshot "sha256:layer"/),
      );
      await assert.rejects(sn.stat(ns, "extract"), ofClass("not-found"));
    });
  });
}

/** prepare and commit without content. */
async function base(sn: Snapshotter, name: string, parent: string): Promise<void> {
  await sn.prepare(ns, `${name}-active`, parent, opt);
  await sn.commit(ns, name, `${name}-active`, opt);
}

/** Two committed snapshots, two active ones and two views. */
async function family(sn: Snapshotter): Promise<[name: string, kind: SnapshotKind, parent: string][]> {
  await base(sn, "c1", "");
  await base(sn, "c2", "c1");
  await sn.prepare(ns, "a1", "c2", opt);
  await sn.prepare(ns, "a2", "", opt);
  await sn.view(ns, "v1", "c2", opt);
  await sn.view(ns, "v2", "", opt);
  return [
    ["c1", "committed", ""],
    ["c2", "committed", "c1"],
    ["a1", "active", "c2"],
    ["a2", "active", ""],
    ["v1", "view", "c2"],
    ["v2", "view", ""],
  ];
}

/** Applies changes layer by layer, both to snapshots and to a plain folder: they must look the same at each step. */
async function checkLayers(sn: Snapshotter, changes: readonly (readonly Step[])[]): Promise<void> {
  const flat = await tempFolder();
  try {
    let parent = "";
    for (const [i, steps] of changes.entries()) {
      await withTempMount(await sn.prepare(ns, `prepare-${i}`, parent, opt), (path) => {
        assert.deepEqual(listTree(path), listTree(flat.path), `layer ${i} before`);
        for (const step of steps) {
          step(flat.path);
          step(path);
        }
        assert.deepEqual(listTree(path), listTree(flat.path), `layer ${i} after`);
      });
      parent = `committed-${i}`;
      await sn.commit(ns, parent, `prepare-${i}`, opt);
    }
    await withTempMount(await sn.view(ns, "all", parent, opt), (path) => {
      assert.deepEqual(listTree(path), listTree(flat.path), "view of all layers");
    });
  } finally {
    await flat.remove();
  }
}

async function checkBasic(sn: Snapshotter, inodes: bigint): Promise<void> {
  const first = [file("foo", "foo\n", 0o777), dir("a"), dir("a/b"), dir("a/b/c")];
  const second = [file("bar", "bar\n", 0o777), file("foo", "bar\n", 0o777), remove("a/b")];
  const flat = await tempFolder();
  try {
    for (const step of first) step(flat.path);
    const key = "/work/preparing";
    const mounts = await sn.prepare(ns, key, "", opt);
    assert.ok(mounts.length > 0);
    await withTempMount(mounts, (path) => {
      for (const step of first) step(path);
    });
    await sn.commit(ns, "committed", key, opt);
    const one = await sn.stat(ns, "committed");
    await assert.rejects(sn.stat(ns, key), ofClass("not-found"));
    await withTempMount(await sn.prepare(ns, "next", "committed", opt), (path) => {
      assert.deepEqual(listTree(path), listTree(flat.path));
      for (const step of second) step(path);
    });
    assert.equal((await sn.usage(ns, "committed")).inodes, inodes);
    assert.ok((await sn.usage(ns, "next")).size > 0n);
    await sn.commit(ns, "committed-next", "next", opt);
    const two = await sn.stat(ns, "committed-next");
    assert.deepEqual([two.kind, two.parent], ["committed", "committed"]);
    assert.deepEqual(await list(sn.walk(ns, [])), [one, two]);
    for (const step of second) step(flat.path);
    mkdirSync(join(flat.path, "a"), { recursive: true });
    await withTempMount(await sn.view(ns, "view", "committed-next", opt), (path) => {
      assert.deepEqual(listTree(path), listTree(flat.path));
    });
    await sn.remove(ns, "view");
    await assert.rejects(sn.remove(ns, "committed"), ofClass("failed-precondition", /remove/));
    await sn.remove(ns, "committed-next");
    await sn.remove(ns, "committed");
    assert.deepEqual(await list(sn.walk(ns, [])), []);
  } finally {
    await flat.remove();
  }
}

async function checkUpdate(sn: Snapshotter): Promise<void> {
  const before = nowNs();
  const members = await family(sn);
  const after = nowNs();
  const root = opt.get("containerd.io/gc.root") ?? "";
  const all = (record: Record<string, string>): Labels =>
    labelsOf({ ...record, "containerd.io/gc.root": root });
  for (const [name, kind, parent] of members) {
    const same = (info: SnapshotInfo): void =>
      assert.deepEqual([info.name, info.kind, info.parent], [name, kind, parent]);
    const old = await sn.stat(ns, name);
    same(old);
    assert.ok(old.createdAt >= before - SLACK && old.createdAt <= after + SLACK);
    assert.equal(old.createdAt, old.updatedAt);
    let info = await sn.update(ns, name, all({ l1: "v1", l2: "v2", l3: "v3" }), []);
    same(info);
    assert.deepEqual(info.labels, all({ l1: "v1", l2: "v2", l3: "v3" }));
    assert.equal(info.createdAt, old.createdAt);
    assert.ok(info.updatedAt >= old.updatedAt);
    info = await sn.update(ns, name, labelsOf({ l1: "updated", l4: "v4" }), ["labels.l1", "labels.l2"]);
    assert.deepEqual(info.labels, all({ l1: "updated", l3: "v3" }));
    info = await sn.update(ns, name, all({ l4: "v4" }), ["labels"]);
    assert.deepEqual(info.labels, all({ l4: "v4" }));
    assert.deepEqual(await sn.stat(ns, name), info);
    await assert.rejects(sn.update(ns, name, opt, ["parent"]), ofClass("invalid-argument"));
  }
  await assert.rejects(sn.update(ns, "missing", opt, []), ofClass("not-found"));
  await assert.rejects(
    sn.update(ns, "c1", labelsOf({ k: "x".repeat(4096) }), []),
    ofClass("invalid-argument"),
  );
}

async function checkWalk(sn: Snapshotter): Promise<void> {
  const gc = "check-walk";
  const plain = labelsOf({ "containerd.io/gc.root": gc });
  const marked = (l: string): Labels => labelsOf({ l, "containerd.io/gc.root": gc });
  await sn.prepare(ns, "a-np", "", plain);
  await sn.prepare(ns, "p-tmp", "", plain);
  await sn.commit(ns, "p", "p-tmp", plain);
  await sn.prepare(ns, "a", "p", plain);
  await sn.view(ns, "v", "p", plain);
  await sn.prepare(ns, "p-wl-tmp", "", plain);
  await sn.commit(ns, "p-wl", "p-wl-tmp", marked("1"));
  await sn.prepare(ns, "a-wl", "p-wl", marked("2"));
  await sn.view(ns, "v-wl", "p-wl", marked("3"));
  await sn.prepare(ns, "a-np-wl", "", marked("2"));
  const all = 'labels."containerd.io/gc.root"==check-walk';
  const cases: [want: string[], filters: string[]][] = [
    [["a", "a-np", "a-np-wl", "a-wl", "p", "p-wl", "v", "v-wl"], [all]],
    [["a", "a-np", "a-np-wl", "a-wl"], [`kind==active,${all}`]],
    [["v", "v-wl"], [`kind==view,${all}`]],
    [["p", "p-wl"], [`kind==committed,${all}`]],
    [
      ["a-np-wl", "p"],
      ["name==p", "name==a-np-wl"],
    ],
    [["a-wl"], ["name==a-wl,labels.l"]],
    [["a", "v"], ["parent==p"]],
    [["a", "a-wl", "v", "v-wl"], [`parent!="",${all}`]],
    [["a-np-wl", "a-wl", "p-wl", "v-wl"], ["labels.l"]],
    [["a-np-wl", "a-wl"], ["labels.l==2"]],
  ];
  for (const [want, filters] of cases)
    assert.deepEqual(
      (await list(sn.walk(ns, filters))).map((i) => i.name).toSorted(),
      want,
      filters.join(" | "),
    );
}
