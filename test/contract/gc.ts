/** What garbage collection keeps and removes, seen from outside; the walk of seed 002 (features 002-6) is the first case. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { NamespacedCall } from "../../src/core/call.ts";
import type { Digest } from "../../src/core/ids/digest.ts";
import {
  inNs,
  labelsOf,
  list,
  type MakeStores,
  ns,
  ofClass,
  type Stores,
  withStores,
  writeBlob,
} from "./harness.ts";
import { container, image } from "./samples.ts";

const SN = "overlayfs";
const past = "2020-01-01T00:00:00Z";
const future = "2999-01-01T00:00:00Z";

/** Runs the suite. */
export function gcSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (s: Stores) => Promise<void>): void => {
    test(title, () => withStores(make, body));
  };

  describe(`garbage collection: ${name}`, () => {
    on("the slides' walk: two images that share a layer, and a container", async (s) => {
      const redis = await makeImage(s, "redis", ["base", "redis-layer"]);
      const nginx = await makeImage(s, "nginx", ["base", "nginx-layer"]);
      await s.snapshotter(SN).prepare(ns, "redis-1", "redis:redis-layer", new Map());
      await s.containers.create(ns, container("redis-1", { snapshotter: SN, snapshotKey: "redis-1" }));
      await s.collect();
      assert.deepEqual(await blobs(s), [...new Set([...redis, ...nginx])].toSorted());
      assert.deepEqual(await snapshots(s), ["base", "nginx:nginx-layer", "redis-1", "redis:redis-layer"]);
      // deleting the image frees its manifest, config and own layer; the container keeps its snapshots
      await s.images.delete(ns, "redis", { sync: true });
      assert.deepEqual(await blobs(s), nginx.toSorted());
      assert.deepEqual(await snapshots(s), ["base", "nginx:nginx-layer", "redis-1", "redis:redis-layer"]);
      // deleting the container frees the chain that only it used
      await s.containers.delete(ns, "redis-1");
      await s.collect();
      assert.deepEqual(await blobs(s), nginx.toSorted());
      assert.deepEqual(await snapshots(s), ["base", "nginx:nginx-layer"]);
      await s.images.delete(ns, "nginx", { sync: true });
      assert.deepEqual(await blobs(s), []);
      assert.deepEqual(await snapshots(s), []);
    });

    on("labels: roots, references and their forms", async (s) => {
      const d = async (text: string, labels: Record<string, string> = {}): Promise<Digest> =>
        await writeBlob(s.content, ns, Buffer.from(text), labelsOf(labels));
      const leaf = await d("leaf");
      const second = await d("second");
      const third = await d("third");
      await d("no prefix match", {});
      const viaBad = await d("bad suffix");
      const root = await d("root", {
        "containerd.io/gc.root": "any",
        "containerd.io/gc.ref.content": leaf,
        "containerd.io/gc.ref.content.config": second,
        "containerd.io/gc.ref.content/l.1": third,
        "containerd.io/gc.ref.contentx": viaBad,
      });
      await d("garbage", { "containerd.io/gc.ref.content": root });
      const later = await d("kept until later", { "containerd.io/gc.expire": future });
      await d("expired", { "containerd.io/gc.expire": past });
      const back = await d("back", { "containerd.io/gc.bref.content": leaf });
      await d("back of nothing", { "containerd.io/gc.bref.content.x": viaBad });
      const other = inNs("other");
      await writeBlob(s.content, other, Buffer.from("leaf"));
      await s.collect();
      assert.deepEqual(await blobs(s), [leaf, second, third, root, later, back].toSorted());
      assert.deepEqual(await blobs(s, other), []);
    });

    on("snapshots: content, images and containers refer to them; unreferenced ones go", async (s) => {
      const sn = s.snapshotter(SN);
      for (const key of ["by-content", "by-image", "by-container", "by-label", "view-of", "none"])
        await base(s, key, "");
      await sn.prepare(ns, "loose", "none", new Map());
      await sn.prepare(ns, "rooted", "by-label", labelsOf({ "containerd.io/gc.root": "x" }));
      const digest = await writeBlob(
        s.content,
        ns,
        Buffer.from("x"),
        labelsOf({
          [`containerd.io/gc.ref.snapshot.${SN}`]: "by-content",
          "containerd.io/gc.ref.snapshot.native": "none",
        }),
      );
      await s.images.create(
        ns,
        image("img", digest, { [`containerd.io/gc.ref.snapshot.${SN}/1`]: "by-image" }),
      );
      await s.containers.create(
        ns,
        container("c", { labels: labelsOf({ [`containerd.io/gc.ref.snapshot.${SN}`]: "by-container" }) }),
      );
      await sn.view(
        ns,
        "back-view",
        "view-of",
        labelsOf({ "containerd.io/gc.bref.container": "c", "containerd.io/gc.bref.image": "nope" }),
      );
      await s.collect();
      assert.deepEqual(await snapshots(s), [
        "back-view",
        "by-container",
        "by-content",
        "by-image",
        "by-label",
        "rooted",
        "view-of",
      ]);
    });

    on("conditional references follow the last use", async (s) => {
      const now = new Date().toISOString();
      const sn = s.snapshotter(SN);
      for (const [key, used] of [
        ["fresh", now],
        ["stale", past],
      ] as const) {
        await sn.prepare(ns, `${key}-a`, "", new Map());
        await sn.commit(ns, key, `${key}-a`, labelsOf({ "containerd.io/gc.cond.value-usedat": used }));
      }
      await writeBlob(
        s.content,
        ns,
        Buffer.from("x"),
        labelsOf({
          "containerd.io/gc.root": "1",
          [`containerd.io/gc.cond.snapshot.${SN}/1`]: "usedat<24h|fresh",
          [`containerd.io/gc.cond.snapshot.${SN}/2`]: "usedat<24h,unknown=1|stale",
        }),
      );
      await s.collect();
      assert.deepEqual(await snapshots(s), ["fresh"]);
    });

    on("leases hold what they name and what that refers to; flat ones only what they name", async (s) => {
      const held = await makeImage(s, "held", ["l1"], false);
      await base(s, "parent", "");
      await base(s, "child", "parent");
      await s.leases.create(ns, "full", new Map());
      await s.leases.addResource(ns, "full", { type: "content", id: held[0] ?? "" });
      await s.leases.create(ns, "snap", labelsOf({ "containerd.io/gc.flat": "1" }));
      await s.leases.addResource(ns, "snap", { type: `snapshots/${SN}`, id: "child" });
      await s.collect();
      assert.deepEqual(await blobs(s), held.toSorted());
      assert.deepEqual(await snapshots(s), ["child", "l1", "parent"]);
      await s.leases.create(ns, "flat", labelsOf({ "containerd.io/gc.flat": "1" }));
      await s.leases.addResource(ns, "flat", { type: "content", id: held[0] ?? "" });
      await s.leases.delete(ns, "full", true);
      assert.deepEqual(await blobs(s), [held[0]]);
      await s.leases.delete(ns, "flat", true);
      await s.leases.deleteResource(ns, "snap", { type: `snapshots/${SN}`, id: "child" });
      await s.collect();
      assert.deepEqual(await blobs(s), []);
      assert.deepEqual(await snapshots(s), []);
    });

    on("expiry: leases and images end; unreadable times are ignored", async (s) => {
      const digest = await writeBlob(s.content, ns, Buffer.from("x"));
      const expiring = await writeBlob(s.content, ns, Buffer.from("y"));
      for (const [id, label] of [
        ["past", past],
        ["future", future],
        ["odd", "soon"],
      ] as const)
        await s.leases.create(ns, id, labelsOf({ "containerd.io/gc.expire": label }));
      await s.leases.addResource(ns, "past", { type: "content", id: expiring });
      await s.leases.addResource(ns, "odd", { type: "content", id: digest });
      await s.images.create(ns, image("gone", expiring, { "containerd.io/gc.expire": past }));
      await s.images.create(ns, image("later", digest, { "containerd.io/gc.expire": future }));
      await s.images.create(ns, image("named", expiring, { "containerd.io/gc.expire": past }));
      await s.images.create(ns, image("keeps", digest, { "containerd.io/gc.ref.image": "named" }));
      await s.collect();
      assert.deepEqual(
        (await s.leases.list(ns, [])).map((l) => l.id),
        ["future", "odd"],
      );
      assert.deepEqual(
        (await s.images.list(ns, [])).map((i) => i.name),
        ["keeps", "later", "named"],
      );
      assert.deepEqual(await blobs(s), [digest, expiring].toSorted());
    });

    on("ingests live with their lease, or for a day", async (s) => {
      await s.leases.create(ns, "l", new Map());
      for (const [ref, call] of [
        ["leased", inNs("testing", "l")],
        ["free", ns],
      ] as const) {
        const writer = await s.content.writer(call, { ref });
        await writer.write(Buffer.from("some"));
        await writer.close();
      }
      await s.collect();
      assert.equal((await s.content.statuses(ns, [])).length, 2);
      await s.leases.delete(ns, "l", true);
      assert.deepEqual(
        (await s.content.statuses(ns, [])).map((i) => i.ref),
        ["free"],
      );
      // an open writer is never pulled away
      await s.leases.create(ns, "m", new Map());
      const open = await s.content.writer(inNs("testing", "m"), { ref: "open" });
      await s.leases.delete(ns, "m", true);
      await open.write(Buffer.from("bytes"));
      assert.equal((await s.content.status(ns, "open")).offset, 5n);
      await assert.rejects(open.commit(5n, undefined), ofClass("not-found", /lease does not exist/));
    });

    on("a blob stays on disk while another namespace has it", async (s) => {
      const other = inNs("other");
      const keep = labelsOf({ "containerd.io/gc.root": "1" });
      const digest = await writeBlob(s.content, ns, Buffer.from("both"));
      await writeBlob(s.content, other, Buffer.from("both"), keep);
      await s.collect();
      await assert.rejects(s.content.info(ns, digest), ofClass("not-found"));
      await using reader = await s.content.reader(other, digest);
      assert.equal(reader.size, 4n);
    });

    on("clients that work while collections run lose nothing (R9)", async (s) => {
      let stop = false;
      const collecting = (async () => {
        while (!stop) await s.collect();
      })();
      const worker = async (w: number): Promise<void> => {
        for (let i = 0; i < 15; i++) {
          const id = `w${w}-${i}`;
          await s.leases.create(ns, id, new Map());
          const call = inNs("testing", id);
          const digests = await makeImage(s, id, ["shared", `${id}-layer`], true, call);
          await s.snapshotter(SN).prepare(call, `${id}-c`, `${id}:${id}-layer`, new Map());
          await s.containers.create(call, container(id, { snapshotter: SN, snapshotKey: `${id}-c` }));
          await s.leases.delete(ns, id);
          for (const digest of digests) await s.content.info(ns, digest);
          await s.snapshotter(SN).mounts(ns, `${id}-c`);
          await s.snapshotter(SN).remove(ns, `${id}-c`);
          await s.containers.delete(ns, id);
          await s.images.delete(ns, id);
        }
      };
      try {
        await Promise.all([0, 1, 2, 3].map(worker));
      } finally {
        stop = true;
        await collecting;
      }
      await s.collect();
      assert.deepEqual(await blobs(s), []);
      assert.deepEqual(await snapshots(s), []);
    });
  });
}

/** Manifest -> config and layers; config -> the last snapshot of the chain. Layers become snapshots `image:layer` on `base`. */
async function makeImage(
  s: Stores,
  name: string,
  layers: string[],
  withImage = true,
  call: NamespacedCall = ns,
): Promise<Digest[]> {
  const write = async (text: string, labels: Record<string, string> = {}): Promise<Digest> => {
    try {
      return await writeBlob(s.content, call, Buffer.from(text), labelsOf(labels));
    } catch (err) {
      const exists = err instanceof Error && "code" in err && err.code === "already-exists";
      if (!exists) throw err;
      const digest = /sha256:[a-f0-9]{64}/.exec(err.message)?.[0];
      return digest as Digest;
    }
  };
  let parent = "";
  const refs: Record<string, string> = {};
  const digests: Digest[] = [];
  for (const [i, layer] of layers.entries()) {
    const digest = await write(`layer ${layer}`);
    digests.push(digest);
    refs[`containerd.io/gc.ref.content.l.${i}`] = digest;
    const key = i === 0 ? layer : `${name}:${layer}`;
    await base(s, key, parent, call, `${name}-${key}`);
    parent = key;
  }
  const config = await write(`config ${name}`, { [`containerd.io/gc.ref.snapshot.${SN}`]: parent });
  const manifest = await write(`manifest ${name}`, {
    ...refs,
    "containerd.io/gc.ref.content.config": config,
  });
  if (withImage) await s.images.create(call, image(name, manifest));
  return [manifest, config, ...digests];
}

/** A committed snapshot; fine when it is there already. */
async function base(
  s: Stores,
  key: string,
  parent: string,
  call = ns,
  active = `${key}-active`,
): Promise<void> {
  const sn = s.snapshotter(SN);
  try {
    await sn.prepare(call, active, parent, labelsOf({ "containerd.io/snapshot.ref": key }));
    await sn.commit(call, key, active, new Map());
  } catch (err) {
    if (!(err instanceof Error && "code" in err && err.code === "already-exists")) throw err;
    await sn.remove(call, active).catch(() => {});
  }
}

async function blobs(s: Stores, call = ns): Promise<string[]> {
  return (await list(s.content.walk(call, []))).map((i) => i.digest);
}

async function snapshots(s: Stores): Promise<string[]> {
  return (await list(s.snapshotter(SN).walk(ns, []))).map((i) => i.name);
}
