import assert from "node:assert/strict";
import { test } from "node:test";
import { capabilityOf, mappingsOf } from "./userns.ts";

test("mappings: both kinds, root mapped, numbers in range", () => {
  assert.equal(mappingsOf({}), undefined);
  assert.deepEqual(mappingsOf({ uidmap: ["0:100000:65536"], gidmap: ["0:1:1", "1:200000:10"] }), {
    uids: [{ containerID: 0, hostID: 100000, size: 65536 }],
    gids: [
      { containerID: 0, hostID: 1, size: 1 },
      { containerID: 1, hostID: 200000, size: 10 },
    ],
  });
  for (const [uid, gid] of [
    ["0:1:1", undefined],
    ["1:1:1", "0:1:1"],
    ["0:1", "0:1:1"],
    ["0:1:0", "0:1:1"],
    ["0:4294967295:2", "0:1:1"],
    ["0:-1:2", "0:1:1"],
  ])
    assert.throws(
      () => mappingsOf({ uidmap: [uid], gidmap: gid === undefined ? [] : [gid] }),
      `${uid} ${gid}`,
    );
});

test("file capabilities become those of the mapped root; other revisions stay", () => {
  const v2 = new Uint8Array(new ArrayBuffer(20));
  v2.set([1, 0, 0, 2, 0, 0x20, 0, 0]);
  const v3 = capabilityOf(v2, 100_000);
  assert.deepEqual([...v3.subarray(0, 6)], [1, 0, 0, 3, 0, 0x20]);
  assert.equal(new DataView(v3.buffer).getUint32(20, true), 100_000);
  assert.equal(capabilityOf(v3, 7), v3);
});
