import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { GantryError } from "../../../core/errors.ts";
import { TYPE } from "./header.ts";
import { parsePaxTime } from "./pax.ts";
import { type TarEntry, TarReader } from "./reader.ts";
import { type TarMember, tarEnd, tarHeader, tarPadding } from "./writer.ts";

function member(name: string, data = "", more: Partial<TarMember> = {}): Uint8Array {
  const bytes = Buffer.from(data);
  const header = tarHeader({
    type: TYPE.regular,
    name,
    mode: 0o644,
    uid: 1,
    gid: 2,
    size: bytes.length,
    mtime: { sec: 10, nsec: 0 },
    ...more,
  });
  return Buffer.concat([header, bytes, tarPadding(bytes.length)]);
}

/** Reads an archive in chunks of a size; entries with their data. */
function readAll(archive: Uint8Array, chunk = archive.length): { entry: TarEntry; data: string }[] {
  const found: { entry: TarEntry; data: string }[] = [];
  const reader = new TarReader({
    entry: (entry) => found.push({ entry, data: "" }),
    data: (bytes) => {
      const last = found.at(-1);
      if (last !== undefined) last.data += Buffer.from(bytes).toString("latin1");
    },
    close: () => {},
  });
  for (let at = 0; at < archive.length; at += chunk) reader.push(archive.subarray(at, at + chunk));
  reader.finish();
  return found;
}

const long = `${"deep/".repeat(40)}\xff\xfe`;
const archive = Buffer.concat([
  member("plain", "hello"),
  member(long, "x".repeat(1500), { mtime: { sec: -5, nsec: 250_000_000 }, uid: 3_000_000_000 }),
  member("l", "", { type: TYPE.symlink, linkname: long }),
  member("attributes", "", { xattrs: new Map([["user.k", "\x00=\n\xff"]]) }),
  tarEnd(),
]);

test("the same entries whatever the chunk size", () => {
  const want = readAll(archive);
  assert.deepEqual(
    want.map(({ entry, data }) => [entry.name, data.length]),
    [
      ["plain", 5],
      [long, 1500],
      ["l", 0],
      ["attributes", 0],
    ],
  );
  assert.deepEqual(want[1]?.entry.mtime, { sec: -5, nsec: 250_000_000 });
  assert.equal(want[1]?.entry.uid, 3_000_000_000);
  assert.equal(want[2]?.entry.linkname, long);
  assert.equal(want[3]?.entry.xattrs?.get("user.k"), "\x00=\n\xff");
  for (const chunk of [1, 7, 511, 512, 513, 1024, 4000]) assert.deepEqual(readAll(archive, chunk), want);
});

test("an archive without end blocks is complete, half a member is not", () => {
  assert.equal(readAll(member("a", "b")).length, 1);
  assert.equal(readAll(new Uint8Array()).length, 0);
  assert.throws(() => readAll(member("a", "b".repeat(600)).subarray(0, 1024)), /unexpected end/);
  assert.throws(() => readAll(archive.subarray(0, 100)), /unexpected end/);
});

test("global headers are ignored, bytes after the end too", () => {
  const global = member("g", "18 path=elsewhere\n".padEnd(18), { type: TYPE.paxGlobal });
  const all = readAll(Buffer.concat([global, member("a"), tarEnd(), Buffer.from("rest")]));
  assert.deepEqual(
    all.map(({ entry }) => entry.name),
    ["a"],
  );
});

test("pax times", () => {
  assert.deepEqual(parsePaxTime("1.5"), { sec: 1, nsec: 500_000_000 });
  assert.deepEqual(parsePaxTime("-1.25"), { sec: -2, nsec: 750_000_000 });
  assert.deepEqual(parsePaxTime("3.1234567891"), { sec: 3, nsec: 123_456_789 });
  for (const bad of ["", "x", "1e5", "1.2.3"]) assert.throws(() => parsePaxTime(bad), GantryError);
});

test("mangled archives end in a typed error or in entries, never otherwise", () => {
  let seed = 12_345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(archive);
    for (let i = random(6); i >= 0; i--) {
      const at = random(bytes.length);
      bytes[at] = random(256);
      // Half of the time the sum is right again, so that the mutation is looked at.
      if (random(2) === 0) fixSum(bytes, at - (at % 512));
    }
    const cut = random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
    try {
      readAll(cut, 1 + random(2000));
    } catch (err) {
      assert.ok(err instanceof GantryError, String(err));
    }
  }
});

function fixSum(bytes: Buffer, at: number): void {
  bytes.fill(0x20, at + 148, at + 156);
  let sum = 0;
  for (let i = at; i < at + 512; i++) sum += bytes[i] ?? 0;
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148, "latin1");
}
