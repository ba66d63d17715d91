/** The sandbox store's contract. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { SandboxInput, SandboxStore } from "../../src/core/sandbox/sandbox.ts";
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

function sandbox(id: string, change: Partial<SandboxInput> = {}): SandboxInput {
  return {
    id,
    runtime: { name: "io.containerd.runc.v2", options: undefined },
    spec: undefined,
    labels: new Map(),
    extensions: new Map(),
    sandboxer: "",
    ...change,
  };
}

/** Runs the suite. */
export function sandboxesSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (store: SandboxStore, stores: Stores) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.sandboxes, stores)));
  };

  describe(`sandboxes: ${name}`, () => {
    on("what is stored comes back, and only in its namespace", async (store) => {
      const input = sandbox("pod-1", {
        runtime: { name: "r", options: { typeUrl: "x/O", value: Uint8Array.of(0, 255) } },
        spec: { typeUrl: "x/S", value: Uint8Array.of(1) },
        labels: labelsOf({ k: "v" }),
        extensions: new Map([["e", { typeUrl: "x/E", value: Uint8Array.of(2) }]]),
        sandboxer: "podsandbox",
      });
      const made = await store.create(ns, input);
      assert.equal(made.createdAt, made.updatedAt);
      const found = await store.get(ns, "pod-1");
      assert.deepEqual(plain(found), plain(made));
      assert.deepEqual(
        plain({ ...input, createdAt: made.createdAt, updatedAt: made.updatedAt }),
        plain(found),
      );
      await assert.rejects(store.create(ns, input), ofClass("already-exists", /sandbox "pod-1"/));
      await assert.rejects(store.get(inNs("other"), "pod-1"), ofClass("not-found"));
      await store.delete(ns, "pod-1");
      await assert.rejects(store.get(ns, "pod-1"), ofClass("not-found", /sandbox "pod-1"/));
      await assert.rejects(store.delete(ns, "pod-1"), ofClass("not-found"));
    });

    on("what is refused", async (store) => {
      for (const id of ["", "a/b", "-a", "x".repeat(80)])
        await assert.rejects(store.create(ns, sandbox(id)), ofClass("invalid-argument"));
      const noRuntime = sandbox("a", { runtime: { name: "" } });
      await assert.rejects(store.create(ns, noRuntime), ofClass("invalid-argument", /runtime name/));
      await store.create(ns, sandbox("a"));
      for (const field of ["id", "sandboxer", "labels.", "nothing"])
        await assert.rejects(store.update(ns, sandbox("a"), [field]), ofClass("invalid-argument"));
      const other = sandbox("a", { runtime: { name: "other" } });
      await assert.rejects(store.update(ns, other, []), ofClass("invalid-argument", /immutable/));
      await assert.rejects(store.update(ns, sandbox("gone"), []), ofClass("not-found"));
    });

    on("updates change what the fields name", async (store) => {
      const ext = (n: number) => ({ typeUrl: "x/E", value: Uint8Array.of(n) });
      const made = await store.create(
        ns,
        sandbox("a", { labels: labelsOf({ a: "1", b: "2" }), extensions: new Map([["x", ext(1)]]) }),
      );
      const change = sandbox("a", {
        labels: labelsOf({ a: "9", c: "3" }),
        extensions: new Map([
          ["x", ext(5)],
          ["y", ext(6)],
        ]),
        spec: ext(7),
      });
      const some = await store.update(ns, change, ["labels.a", "extensions.y"]);
      assert.deepEqual(some.labels, labelsOf({ a: "9", b: "2" }));
      assert.deepEqual(
        [...some.extensions].map(([k, v]) => [k, v.value[0]]),
        [
          ["x", 1],
          ["y", 6],
        ],
      );
      assert.equal(some.spec, undefined);
      assert.equal(some.createdAt, made.createdAt);
      assert.ok(some.updatedAt >= made.updatedAt);
      const whole = await store.update(ns, change, []);
      assert.deepEqual(whole.labels, change.labels);
      assert.equal(whole.spec?.value[0], 7);
    });

    on("lists by id and by filters", async (store) => {
      for (const id of ["b", "a", "c"])
        await store.create(
          ns,
          sandbox(id, { labels: labelsOf({ is: id }), sandboxer: id === "c" ? "s" : "" }),
        );
      const ids = async (...filters: string[]): Promise<string[]> =>
        (await store.list(ns, filters)).map((s) => s.id);
      assert.deepEqual(await ids(), ["a", "b", "c"]);
      assert.deepEqual(await ids("id==a", "labels.is==c"), ["a", "c"]);
      assert.deepEqual(await ids("sandboxer==s"), ["c"]);
    });

    on("a sandbox keeps what its labels name from being collected", async (store, stores) => {
      const kept = await writeBlob(stores.content, ns, Buffer.from("kept"));
      await store.create(ns, sandbox("a", { labels: labelsOf({ "containerd.io/gc.ref.content": kept }) }));
      await stores.collect();
      await stores.content.info(ns, kept);
      await store.delete(ns, "a");
      await stores.collect();
      await assert.rejects(stores.content.info(ns, kept), ofClass("not-found"));
    });
  });
}

/** Maps and bytes as plain values, whichever array type they came in. */
function plain(value: object): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, v: unknown) => {
      if (v instanceof Map) return Object.fromEntries(v);
      if (v instanceof Uint8Array) return [...v];
      return typeof v === "bigint" ? String(v) : v;
    }),
  );
}
