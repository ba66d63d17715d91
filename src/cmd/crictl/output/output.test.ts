import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSince } from "../logs/since.ts";
import { pairLines, renderTable, shortId } from "./table.ts";
import { localGoTime, localRfc3339 } from "./times.ts";

test("columns are 20 wide, or three more than their longest cell", () => {
  assert.equal(
    renderTable([
      ["ID", "NAME", "LAST"],
      ["abc", "a name of twenty chars", "x"],
    ]),
    `ID                  NAME                     LAST\nabc                 a name of twenty chars   x\n`,
  );
  assert.equal(renderTable([["key:", "v"]], 10), "key:      v\n");
  assert.equal(renderTable([]), "");
});

test("ids and labels", () => {
  assert.equal(shortId("sha256:0123456789abcdef", "sha256:"), "0123456789abc");
  assert.equal(pairLines("Labels", { b: "2", a: "1" }), "Labels:\n\ta -> 1\n\tb -> 2\n");
  assert.equal(pairLines("Labels", {}), "");
});

test("times in the local zone, as Go writes them", () => {
  const ns = 1_767_323_045_600_000_000n;
  const offset = -new Date(1_767_323_045_600).getTimezoneOffset();
  if (offset === 0) {
    assert.equal(localRfc3339(ns), "2026-01-02T03:04:05.6Z");
    assert.equal(localGoTime(ns), "2026-01-02 03:04:05.6 +0000 UTC");
  } else assert.match(localRfc3339(ns), /^2026-01-0\dT\d\d:\d\d:05\.6[+-]\d\d:\d\d$/);
  assert.match(localRfc3339(1_767_323_045_000_000_000n), /:05(?:Z|[+-])/);
});

test("--since", () => {
  const now = 1_000_000_000_000_000_000n;
  assert.equal(parseSince("90s", now), now - 90_000_000_000n);
  assert.equal(parseSince("1136073600.000000001", now), 1_136_073_600_000_000_001n);
  assert.equal(parseSince("2026-01-02T03:04:05.6Z", now), 1_767_323_045_600_000_000n);
  assert.equal(parseSince("2026-01-02T03:04:05+01:00", now), 1_767_319_445_000_000_000n);
  const local = BigInt(new Date(2026, 0, 2, 3, 4, 0).getTime()) * 1_000_000n;
  assert.equal(parseSince("2026-01-02T03:04", now), local);
  assert.throws(() => parseSince("yesterday", now), /--since "yesterday": not a time/);
});
