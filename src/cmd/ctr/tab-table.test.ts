import assert from "node:assert/strict";
import { test } from "node:test";
import { renderTabTable } from "./tab-table.ts";

test("columns end at tab stops, the last one is as it is", () => {
  const rows = [["a".repeat(71), "1.059MB", "Less than a second", "-"]];
  assert.equal(
    renderTabTable(["DIGEST", "SIZE", "AGE", "LABELS"], rows),
    `DIGEST${"\t".repeat(9)}SIZE\tAGE\t\t\tLABELS\n${"a".repeat(71)}\t1.059MB\tLess than a second\t-\n`,
  );
  assert.equal(renderTabTable(["REF", "SIZE", "AGE", ""], []), "REF\tSIZE\tAGE\t\n");
});
