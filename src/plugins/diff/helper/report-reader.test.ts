import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf } from "../../../core/errors.ts";
import type { UnpackReport } from "./protocol.ts";
import { ReportReader, reportedError } from "./report-reader.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("reports come whole, however they are cut, and names keep their letters", () => {
  const warning = "länger als üblich: 文件";
  const report = { type: "extracted", blob: { digest: "d", size: 1 }, warnings: [warning] };
  const all = bytes(`${JSON.stringify({ type: "progress", bytes: 7 })}\n${JSON.stringify(report)}\n`);
  const reader = new ReportReader();
  const seen: UnpackReport[] = [];
  for (const byte of all) seen.push(...reader.push(Uint8Array.of(byte)));
  assert.deepEqual(seen, [{ type: "progress", bytes: 7 }, report]);
  assert.equal(reader.atBoundary, true);
});

test("what is no report is an error of the helper", () => {
  for (const text of ["nonsense\n", "null\n", "[]\n", "7\n", '{"bytes":1}\n'])
    assert.throws(
      () => [...new ReportReader().push(bytes(text))],
      (err) => codeOf(err) === "internal" && /helper's report/.test(String(err)),
      text,
    );
  const endless = new ReportReader();
  assert.throws(() => {
    for (let i = 0; i < 64; i++) assert.deepEqual([...endless.push(bytes("x".repeat(1 << 16)))], []);
  }, /longer than/);
});

test("an error keeps its class, and one of no class is internal", () => {
  const said = { type: "error", code: "not-found", message: "m", hint: "h" } as const;
  const err = reportedError(said);
  assert.deepEqual([err.code, err.message, err.hint], ["not-found", "m", "h"]);
  const odd = JSON.parse('{"type":"error","code":"toString","message":"m"}') as typeof said;
  assert.equal(reportedError(odd).code, "internal");
});
