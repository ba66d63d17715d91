/** The content store's contract: containerd's sixteen cases and the ones around them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { NamespacedCall } from "../../src/core/call.ts";
import type { ContentStore, ContentWriter } from "../../src/core/content/content.ts";
import type { Digest } from "../../src/core/ids/digest.ts";
import { nowNs } from "../../src/lib/time.ts";
import {
  digestOf,
  inNs,
  labelsOf,
  list,
  type MakeStores,
  ns,
  ofClass,
  randomBlob,
  readBlob,
  withStores,
  writeBlob,
} from "./harness.ts";

const root = labelsOf({ "containerd.io/gc.root": "2026-01-01T00:00:00Z" });
const EMPTY = digestOf(new Uint8Array());
/** Clocks of two processes are read with a millisecond of slack. */
const SLACK = 1_000_000n;

/** Runs the suite. */
export function contentSuite(name: string, make: MakeStores): void {
  const on = (title: string, body: (content: ContentStore) => Promise<void>): void => {
    test(title, () => withStores(make, (stores) => body(stores.content)));
  };

  describe(`content: ${name}`, () => {
    on("Writer: with and without announced size and digest", async (content) => {
      const wanted = [
        {},
        { size: 256n },
        { expected: true },
        { size: 256n, expected: true },
        { size: BigInt(5 << 20), expected: true },
      ];
      for (const [i, { size, expected }] of wanted.entries()) {
        const blob = randomBlob(Number(size ?? 256n));
        await using writer = await content.writer(ns, {
          ref: `c${i}`,
          size,
          expected: expected === true ? blob.digest : undefined,
        });
        for (let at = 0; at < blob.data.length; at += 65_536)
          await writer.write(blob.data.subarray(at, at + 65_536));
        const before = nowNs();
        assert.equal(await writer.commit(0n, undefined, root), blob.digest);
        assert.equal(writer.digest(), blob.digest);
        const info = await content.info(ns, blob.digest);
        assert.equal(info.size, BigInt(blob.data.length));
        assert.deepEqual(info.labels, root);
        assert.ok(info.createdAt >= before - SLACK && info.createdAt <= nowNs() + SLACK);
        assert.equal(info.createdAt, info.updatedAt);
        assert.deepEqual(await readBlob(content, ns, blob.digest), Buffer.from(blob.data));
      }
    });

    on("UpdateStatus: the status follows every write", async (content) => {
      const blob = randomBlob(256);
      const started = nowNs();
      await using writer = await content.writer(ns, { ref: "c1", size: 256n, expected: blob.digest });
      checkStatus(writer, { ref: "c1", offset: 0n, total: 256n, digest: EMPTY, since: started });
      let at = 0;
      for (const end of [64, 192, 256]) {
        await writer.write(blob.data.subarray(at, end));
        at = end;
        const digest = digestOf(blob.data.subarray(0, end));
        checkStatus(writer, { ref: "c1", offset: BigInt(end), total: 256n, digest, since: started });
      }
      await writer.commit(0n, undefined, root);
      assert.equal((await content.info(ns, blob.digest)).size, 256n);
    });

    on("CommitExists: a second commit of the same bytes", async (content) => {
      const blob = randomBlob(256);
      await writeBlob(content, ns, blob.data);
      for (const [i, expected] of [blob.digest, undefined].entries()) {
        await using writer = await content.writer(ns, { ref: `again-${i}` });
        await writer.write(blob.data);
        await assert.rejects(writer.commit(256n, expected), ofClass("already-exists"));
      }
      await assert.rejects(
        content.writer(ns, { ref: "more", expected: blob.digest }),
        ofClass("already-exists"),
      );
    });

    for (const [title, resume] of RESUMES) {
      on(title, async (content) => {
        let n = 0;
        for (const size of [500, 5000, 50_000]) {
          for (const part of [0, 0.1, 0.5, 0.9, 1]) {
            const blob = randomBlob(size);
            const limit = Math.floor(size * part);
            const options = { ref: `ref-${n++}`, size: BigInt(size), expected: blob.digest };
            const first = await content.writer(ns, options);
            await first.write(blob.data.subarray(0, limit));
            await first.close();
            assert.equal((await content.status(ns, options.ref)).offset, BigInt(limit));
            const writer = await content.writer(ns, options);
            assert.equal(writer.status().offset, BigInt(limit));
            await resume(writer, blob.data, limit, blob.digest);
            await writer.close();
            assert.equal((await content.info(ns, blob.digest)).size, BigInt(size));
            assert.deepEqual(await readBlob(content, ns, blob.digest), Buffer.from(blob.data));
          }
        }
      });
    }

    on("Resume keeps times, offset and digest", async (content) => {
      const blob = randomBlob(256);
      const options = { ref: "cb", size: 256n, expected: blob.digest };
      const first = await content.writer(ns, options);
      await first.write(blob.data.subarray(0, 128));
      const before = first.status();
      await first.close();
      const second = await content.writer(ns, options);
      assert.deepEqual(second.status(), before);
      assert.equal(second.digest(), digestOf(blob.data.subarray(0, 128)));
      await second.write(blob.data.subarray(128));
      assert.equal(await second.commit(0n, undefined), blob.digest);
      await second.close();
    });

    on("SmallBlob: reading past the end", async (content) => {
      const data = Buffer.from("foobar");
      const digest = await writeBlob(content, ns, data);
      await using reader = await content.reader(ns, digest);
      assert.equal(reader.size, 6n);
      assert.deepEqual(Buffer.from(await reader.readAt(0n, 100)), data);
      assert.deepEqual(Buffer.from(await reader.readAt(4n, 1)), data.subarray(4, 5));
      assert.equal((await reader.readAt(6n, 10)).length, 0);
      assert.equal((await reader.readAt(60n, 10)).length, 0);
      const empty = await writeBlob(content, ns, new Uint8Array());
      assert.equal((await readBlob(content, ns, empty)).length, 0);
    });

    on("Labels: set, replace, mask", async (content) => {
      const gc = "2026-01-01T00:00:00Z";
      const digest = await writeBlob(
        content,
        ns,
        Buffer.from("labelled"),
        labelsOf({ k1: "v1", k2: "v2", "containerd.io/gc.root": gc }),
      );
      const created = await content.info(ns, digest);
      const replaced = await content.update(
        ns,
        digest,
        labelsOf({ k1: "new", k3: "v3", "containerd.io/gc.root": gc }),
        [],
      );
      assert.deepEqual(replaced.labels, labelsOf({ k1: "new", k3: "v3", "containerd.io/gc.root": gc }));
      assert.equal(replaced.createdAt, created.createdAt);
      assert.ok(replaced.updatedAt >= created.updatedAt);
      await content.update(ns, digest, labelsOf({ k1: "v1", other: "no" }), ["labels.k3", "labels.k1"]);
      assert.deepEqual(
        (await content.info(ns, digest)).labels,
        labelsOf({ k1: "v1", "containerd.io/gc.root": gc }),
      );
      await assert.rejects(content.update(ns, digest, root, ["size"]), ofClass("invalid-argument"));
      const long = labelsOf({ k: "x".repeat(5000) });
      await assert.rejects(content.update(ns, digest, long, []), ofClass("invalid-argument"));
      const none = digestOf(Buffer.from("none"));
      await assert.rejects(content.update(ns, none, root, []), ofClass("not-found"));
    });

    on("CommitErrorState: a failed commit frees the ref and keeps the bytes", async (content) => {
      const blob = randomBlob(256);
      const other = randomBlob(256).digest;
      await writeBlob(content, ns, blob.data);
      const ref = "state";
      const open = async (): Promise<ContentWriter> => {
        const writer = await content.writer(ns, { ref });
        await assert.rejects(content.writer(ns, { ref }), ofClass("unavailable"));
        return writer;
      };
      for (const expected of [blob.digest, undefined]) {
        const writer = await open();
        assert.equal(writer.status().offset, 0n);
        await writer.write(blob.data);
        await assert.rejects(writer.commit(256n, expected), ofClass("already-exists"));
        await writer.close();
      }
      let writer = await open();
      await writer.write(blob.data);
      await writer.write(Buffer.from("more"));
      await assert.rejects(
        writer.commit(260n, other),
        ofClass(
          "failed-precondition",
          new RegExp(`^unexpected commit digest sha256:\\w+, expected ${other}`),
        ),
      );
      await writer.close();
      writer = await open();
      assert.equal(writer.status().offset, 260n);
      await assert.rejects(
        writer.commit(256n, undefined),
        ofClass("failed-precondition", /^unexpected commit size 260, expected 256/),
      );
      await writer.close();
      writer = await open();
      await writer.commit(260n, undefined);
      await writer.close();
      writer = await open();
      await writer.truncate(0n);
      await writer.close();
    });

    test("CrossNamespaceShare: a digest is enough under the shared policy", () =>
      withStores(make, async ({ content }) => {
        const blob = randomBlob(1000);
        const other = inNs("other");
        await writeBlob(content, ns, blob.data);
        await assert.rejects(content.info(other, blob.digest), ofClass("not-found"));
        await using writer = await content.writer(other, { ref: "ref", size: 1000n, expected: blob.digest });
        assert.equal(writer.status().offset, 1000n);
        assert.equal(writer.status().total, 1000n);
        assert.equal(writer.digest(), blob.digest);
        await writer.commit(1000n, blob.digest);
        for (const call of [ns, other])
          assert.deepEqual(await readBlob(content, call, blob.digest), Buffer.from(blob.data));
        // bytes stay until the last namespace lets go
        await content.delete(ns, blob.digest);
        assert.deepEqual(await readBlob(content, other, blob.digest), Buffer.from(blob.data));
        await assert.rejects(content.reader(ns, blob.digest), ofClass("not-found"));
      }));

    test("CrossNamespaceAppend: a shared blob can be the start of another", () =>
      withStores(make, async ({ content }) => {
        const blob = randomBlob(1000);
        const other = inNs("other");
        await writeBlob(content, ns, blob.data);
        await using writer = await content.writer(other, { ref: "ref", size: 1000n, expected: blob.digest });
        const extra = Buffer.from("appended bytes");
        await writer.write(extra);
        const whole = Buffer.concat([blob.data, extra]);
        await writer.commit(BigInt(whole.length), digestOf(whole));
        assert.deepEqual(await readBlob(content, other, digestOf(whole)), whole);
        assert.deepEqual(await readBlob(content, ns, blob.digest), Buffer.from(blob.data));
        await assert.rejects(content.info(other, blob.digest), ofClass("not-found"));
      }));

    test("CrossNamespaceIsolate: without sharing the bytes must come", () =>
      withStores(
        make,
        async ({ content }) => {
          const blob = randomBlob(1000);
          const other = inNs("other");
          await writeBlob(content, ns, blob.data);
          await using writer = await content.writer(other, {
            ref: "ref",
            size: 1000n,
            expected: blob.digest,
          });
          assert.equal(writer.status().offset, 0n);
          assert.equal(writer.digest(), EMPTY);
          await assert.rejects(writer.commit(1000n, blob.digest), ofClass("failed-precondition"));
          await assert.rejects(content.info(other, blob.digest), ofClass("not-found"));
        },
        { policy: "isolated" },
      ));

    test("SharedNamespaceIsolate: a shareable namespace shares although others do not", () =>
      withStores(
        make,
        async ({ content, namespaces }) => {
          await namespaces.create(ns, "public", labelsOf({ "containerd.io/namespace.shareable": "true" }));
          const blob = randomBlob(1000);
          await writeBlob(content, inNs("public"), blob.data);
          await using writer = await content.writer(ns, { ref: "ref", size: 1000n, expected: blob.digest });
          assert.equal(writer.status().offset, 1000n);
          await writer.commit(1000n, blob.digest);
          assert.deepEqual(await readBlob(content, ns, blob.digest), Buffer.from(blob.data));
        },
        { policy: "isolated" },
      ));

    on("Walk filters and orders; Delete removes", async (content) => {
      const digests: Digest[] = [];
      for (const n of [1, 2, 3])
        digests.push(await writeBlob(content, ns, Buffer.from(`blob ${n}`), labelsOf({ n: String(n) })));
      const walked = (filters: string[], call: NamespacedCall = ns): Promise<Digest[]> =>
        list(content.walk(call, filters)).then((infos) => infos.map((i) => i.digest));
      assert.deepEqual(await walked([]), digests.toSorted());
      assert.deepEqual(await walked(["labels.n==2"]), [digests[1]]);
      assert.deepEqual(
        (await walked(["labels.n==1", `digest==${digests[2]}`])).toSorted(),
        [digests[0], digests[2]].toSorted(),
      );
      assert.deepEqual(await walked([], inNs("empty")), []);
      await assert.rejects(walked(["labels."]), ofClass("invalid-argument"));
      await content.delete(ns, digests[0] as Digest);
      await assert.rejects(content.delete(ns, digests[0] as Digest), ofClass("not-found"));
      assert.equal((await walked([])).length, 2);
    });

    on("ListStatuses and Abort", async (content) => {
      await using a = await content.writer(ns, { ref: "upload/a", size: 10n });
      await a.write(Buffer.from("12345"));
      const b = await content.writer(ns, { ref: "upload/b" });
      await b.close();
      const all = await content.statuses(ns, []);
      assert.deepEqual(
        all.map((s) => [s.ref, s.offset, s.total]),
        [
          ["upload/a", 5n, 10n],
          ["upload/b", 0n, 0n],
        ],
      );
      assert.deepEqual(
        (await content.statuses(ns, ["ref~=b$"])).map((s) => s.ref),
        ["upload/b"],
      );
      assert.deepEqual(await content.statuses(inNs("other"), []), []);
      await content.abort(ns, "upload/b");
      await assert.rejects(content.abort(ns, "upload/b"), ofClass("not-found"));
      await assert.rejects(content.status(ns, "upload/b"), ofClass("not-found"));
      await assert.rejects(content.writer(ns, { ref: "" }), ofClass("invalid-argument"));
    });
  });
}

type Resume = (writer: ContentWriter, data: Uint8Array, written: number, digest: Digest) => Promise<unknown>;

const RESUMES: readonly (readonly [string, Resume])[] = [
  [
    "ResumeTruncate: start over",
    async (writer, data, _written, digest) => {
      await writer.truncate(0n);
      await writer.write(data);
      await writer.commit(BigInt(data.length), digest);
    },
  ],
  [
    "ResumeDiscard: continue behind what is there",
    async (writer, data, written, digest) => {
      await writer.write(data.subarray(written));
      await writer.commit(BigInt(data.length), digest);
    },
  ],
  [
    "ResumeCopy: in small pieces from the reported offset",
    async (writer, data, _written, digest) => {
      for (let at = Number(writer.status().offset); at < data.length; at += 1000)
        await writer.write(data.subarray(at, at + 1000));
      await writer.commit(BigInt(data.length), digest);
    },
  ],
];

function checkStatus(
  writer: ContentWriter,
  want: { ref: string; offset: bigint; total: bigint; digest: Digest; since: bigint },
): void {
  const status = writer.status();
  assert.equal(status.ref, want.ref);
  assert.equal(status.offset, want.offset);
  assert.equal(status.total, want.total);
  assert.equal(writer.digest(), want.digest);
  assert.ok(status.startedAt >= want.since - SLACK && status.updatedAt <= nowNs() + SLACK);
}
