/** The container store's contract. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ContainerInput, ContainerStore } from "../../src/core/containers/containers.ts";
import { labelsOf, type MakeStores, ns, ofClass, withStores } from "./harness.ts";
import { container } from "./samples.ts";

/** Runs the suite. */
export function containersSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (containers: ContainerStore) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.containers)));
  };

  describe(`containers: ${name}`, () => {
    on("what is stored comes back", async (containers) => {
      const input = container("full-1", {
        labels: labelsOf({ k: "v", "k.with/slash": "s", __proto__x: "p" }),
        image: "example.test/img:1",
        runtime: {
          name: "io.containerd.runc.v2",
          options: { typeUrl: "x/Options", value: Uint8Array.of(0, 255, 1) },
        },
        spec: { typeUrl: "any/Spec", value: Uint8Array.of(0xff, 0xfe, 0) },
        snapshotter: "overlayfs",
        snapshotKey: "full-1",
        extensions: new Map([["ext", { typeUrl: "a/B", value: Uint8Array.of(9) }]]),
        sandbox: "pod",
      });
      const made = await containers.create(ns, input);
      assert.equal(made.createdAt, made.updatedAt);
      const { createdAt: _c, updatedAt: _u, ...rest } = await containers.get(ns, "full-1");
      assert.deepEqual(plain(rest), plain(input));
      assert.deepEqual(plain(await containers.get(ns, "full-1")), plain(made));
      await assert.rejects(containers.create(ns, input), ofClass("already-exists", /container "full-1"/));
      await containers.delete(ns, "full-1");
      await assert.rejects(containers.delete(ns, "full-1"), ofClass("not-found"));
      await assert.rejects(containers.get(ns, "full-1"), ofClass("not-found"));
    });

    on("a label with an empty value is none", async (containers) => {
      const some = labelsOf({ k: "v", empty: "" });
      assert.deepEqual(
        (await containers.create(ns, container("e", { labels: some }))).labels,
        labelsOf({ k: "v" }),
      );
      assert.deepEqual((await containers.get(ns, "e")).labels, labelsOf({ k: "v" }));
      const whole = await containers.update(ns, container("e", { labels: labelsOf({ k: "", n: "w" }) }), [
        "labels",
      ]);
      assert.deepEqual(whole.labels, labelsOf({ n: "w" }));
      const one = await containers.update(ns, container("e", { labels: labelsOf({ n: "" }) }), ["labels.n"]);
      assert.deepEqual(one.labels, new Map());
      assert.deepEqual((await containers.get(ns, "e")).labels, new Map());
    });

    on("what is refused", async (containers) => {
      const bad: [ContainerInput, RegExp][] = [
        [container(""), /create container failed validation: container.ID: identifier must not be empty/],
        [container("a/b"), /identifier "a\/b" must match/],
        [container("x".repeat(77)), /greater than maximum length/],
        [container("a", { runtime: { name: "" } }), /container.Runtime.Name must be set/],
        [container("a", { spec: undefined }), /container.Spec must be set/],
        [
          container("a", { snapshotKey: "k" }),
          /container.Snapshotter must be set if container.SnapshotKey is set/,
        ],
        [
          container("a", { labels: labelsOf({ k: "x".repeat(4096) }) }),
          /containers.Labels: label key and value/,
        ],
        [
          container("a", { extensions: new Map([["", { typeUrl: "a", value: new Uint8Array() }]]) }),
          /Extension keys must not be zero-length/,
        ],
      ];
      for (const [input, text] of bad)
        await assert.rejects(containers.create(ns, input), ofClass("invalid-argument", text));
      assert.deepEqual(await containers.list(ns, []), []);
    });

    on("list filters", async (containers) => {
      for (const n of [3, 1, 2]) {
        await containers.create(
          ns,
          container(`c${n}`, {
            image: `img${n % 2}`,
            labels: labelsOf(n === 2 ? { two: "yes" } : { "a.b": "c" }),
          }),
        );
      }
      const ids = async (...filters: string[]): Promise<string[]> =>
        (await containers.list(ns, filters)).map((c) => c.id);
      assert.deepEqual(await ids(), ["c1", "c2", "c3"]);
      assert.deepEqual(await ids("id==c2"), ["c2"]);
      assert.deepEqual(await ids("id==c2", "id==c1"), ["c1", "c2"]);
      assert.deepEqual(await ids("image==img1,id!=c1"), ["c3"]);
      assert.deepEqual(await ids("labels.two"), ["c2"]);
      assert.deepEqual(await ids("labels.a.b==c"), ["c1", "c3"]);
      assert.deepEqual(await ids('labels."a.b"==c'), ["c1", "c3"]);
      assert.deepEqual(await ids("id~=^c[12]$"), ["c1", "c2"]);
      assert.deepEqual(await ids("runtime.name==io.containerd.runc.v2,id==c1"), ["c1"]);
      assert.deepEqual(await ids("unknown"), []);
      await assert.rejects(ids("id=c1"), ofClass("invalid-argument"));
    });

    on("update: all mutable fields, or those of the mask", async (containers) => {
      const old = container("u", {
        labels: labelsOf({ k1: "v1", k2: "v2" }),
        image: "i",
        snapshotter: "overlayfs",
        snapshotKey: "s",
        extensions: new Map([["e1", { typeUrl: "t1", value: Uint8Array.of(1) }]]),
      });
      const made = await containers.create(ns, old);
      const next = container("u", {
        labels: labelsOf({ k1: "new", k3: "v3" }),
        image: "i2",
        snapshotter: "overlayfs",
        snapshotKey: "s2",
        spec: { typeUrl: "spec2", value: Uint8Array.of(2) },
        extensions: new Map([["e2", { typeUrl: "t2", value: Uint8Array.of(2) }]]),
        sandbox: "ignored",
      });
      const cases: [fields: string[], want: Partial<ContainerInput>][] = [
        [["labels.k1"], { labels: labelsOf({ k1: "new", k2: "v2" }) }],
        [["labels.k2"], { labels: labelsOf({ k1: "v1" }) }],
        [["labels"], { labels: next.labels }],
        [["image"], { image: "i2" }],
        [["snapshotkey"], { snapshotKey: "s2" }],
        [["spec"], { spec: next.spec }],
        [["extensions"], { extensions: next.extensions }],
        [["extensions.e2"], { extensions: new Map([...old.extensions, ...next.extensions]) }],
        [["extensions.e1"], { extensions: new Map() }],
        [["image", "labels.k3"], { image: "i2", labels: labelsOf({ k1: "v1", k2: "v2", k3: "v3" }) }],
        [[], { ...next, sandbox: "" }],
      ];
      for (const [fields, want] of cases) {
        const { createdAt, updatedAt, ...rest } = await containers.update(ns, next, fields);
        assert.deepEqual(plain(rest), plain({ ...old, ...want }), fields.join());
        assert.equal(createdAt, made.createdAt);
        assert.ok(updatedAt >= made.updatedAt);
        await containers.update(ns, old, []);
      }
      for (const path of ["id", "runtime", "snapshotter", "nope", "labels.", "sandbox"])
        await assert.rejects(
          containers.update(ns, next, [path]),
          ofClass("invalid-argument", /cannot update/),
          path,
        );
      await assert.rejects(
        containers.update(ns, { ...next, runtime: { name: "other" } }, []),
        ofClass("invalid-argument", /container.Runtime.Name field is immutable/),
      );
      await assert.rejects(
        containers.update(ns, { ...next, snapshotter: "native" }, []),
        ofClass("invalid-argument", /container.Snapshotter field is immutable/),
      );
      await assert.rejects(
        containers.update(ns, { ...next, spec: undefined }, ["spec"]),
        ofClass("invalid-argument"),
      );
      await assert.rejects(containers.update(ns, container("missing"), []), ofClass("not-found"));
      await assert.rejects(containers.update(ns, container(""), []), ofClass("invalid-argument"));
    });

    on("many containers list at once", async (containers) => {
      await Promise.all(
        Array.from({ length: 500 }, (_, i) =>
          containers.create(ns, container(`c${String(i).padStart(3, "0")}`)),
        ),
      );
      const all = await containers.list(ns, []);
      assert.equal(all.length, 500);
      assert.equal(all[499]?.id, "c499");
    });
  });
}

/** Bytes and maps as plain values, so that Buffer and Uint8Array compare equal. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (value instanceof Map) return [...value].toSorted().map(([k, v]) => [k, plain(v)]);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => [k, plain(v)]),
  );
}
