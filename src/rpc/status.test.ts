import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorCode, GantryError, notFound } from "../core/errors.ts";
import { decodeStatus, encodeStatus, fromStatus, grpcCodeName, toStatus } from "./status.ts";

const CODES: Record<ErrorCode, number> = {
  "invalid-argument": 3,
  "not-found": 5,
  "already-exists": 6,
  "permission-denied": 7,
  "resource-exhausted": 8,
  "failed-precondition": 9,
  conflict: 9,
  "not-modified": 9,
  aborted: 10,
  "out-of-range": 11,
  "not-implemented": 12,
  internal: 13,
  unavailable: 14,
  "data-loss": 15,
  unauthenticated: 16,
  "deadline-exceeded": 4,
  canceled: 1,
  unknown: 2,
};

test("every class goes to its code and comes back as itself, twice over", () => {
  for (const [code, number] of Object.entries(CODES)) {
    const status = toStatus(new GantryError(code as ErrorCode, 'thing "x"'));
    assert.equal(status.code, number, code);
    const back = fromStatus(status.code, status.message);
    assert.equal(back.code, code);
    assert.equal(back.wireMessage, status.message);
    assert.deepEqual(toStatus(back).message, status.message);
  }
});

test("the text ends with the class once; unknown codes keep theirs", () => {
  assert.equal(toStatus(notFound('image "x"')).message, 'image "x": not found');
  assert.equal(toStatus(notFound("a: not found")).message, "a: not found");
  assert.equal(fromStatus(99, "strange").code, "unknown");
  assert.equal(fromStatus(99, "strange").wireMessage, "strange");
  assert.equal(toStatus(new Error("boom")).code, 2);
  assert.equal(toStatus("text").message, "text");
  assert.equal(toStatus(new DOMException("x", "AbortError")).code, 1);
  assert.equal(toStatus(new DOMException("x", "TimeoutError")).code, 4);
});

test("details survive encoding and are passed on", () => {
  const details = [{ typeUrl: "type.googleapis.com/a.B", value: Uint8Array.of(1, 2, 3) }];
  const bytes = encodeStatus({ code: 5, message: "größer", details, hint: undefined });
  const decoded = decodeStatus(bytes);
  assert.equal(decoded.code, 5);
  assert.equal(decoded.message, "größer");
  assert.deepEqual(decoded.details, details);
  assert.deepEqual(toStatus(fromStatus(5, "x", details)).details, details);
  assert.throws(() => decodeStatus(Uint8Array.of(0x1a, 0x7f)));
});

test("names of codes", () => {
  assert.equal(grpcCodeName(0), "OK");
  assert.equal(grpcCodeName(12), "Unimplemented");
  assert.equal(grpcCodeName(77), "Code(77)");
});
