import assert from "node:assert/strict";
import { test } from "node:test";
import { isInvalidArgument } from "../../core/errors.ts";
import {
  collectHeaders,
  decodeMessageText,
  encodeMessageText,
  formatTimeout,
  isGrpcContentType,
  metadataFields,
  parseTimeout,
  statusFields,
  statusFromTrailers,
} from "./metadata.ts";

test("timeouts", () => {
  assert.equal(parseTimeout("1H"), 3_600_000);
  assert.equal(parseTimeout("15S"), 15_000);
  assert.equal(parseTimeout("99999999n"), 99.999999);
  for (const bad of ["", "1", "S", "1s", "-1S", "123456789S", "1.5S", " 1S"])
    assert.throws(() => parseTimeout(bad), isInvalidArgument, bad);
  for (const ms of [0.001, 1, 12.5, 60_000, 99_999, 1e6, 1e9, 1e12])
    assert.ok(parseTimeout(formatTimeout(ms)) >= ms, String(ms));
  assert.equal(formatTimeout(0), "1n");
  assert.equal(formatTimeout(-5), "1n");
});

test("percent-encoded messages", () => {
  const text = "größer: 100 % kaputt\n\u{1f600}";
  const encoded = encodeMessageText(text);
  assert.match(encoded, /^[ -~]+$/);
  assert.equal(decodeMessageText(encoded), text);
  assert.equal(encodeMessageText('image "x": not found'), 'image "x": not found');
  assert.equal(decodeMessageText("100% sure %zz %4"), "100% sure %zz %4");
});

test("metadata", () => {
  const headers = collectHeaders([
    { name: "x-bin", value: "AQI, AwQ" },
    { name: "x-list", value: "a,b" },
    { name: "x-list", value: "c" },
  ]);
  assert.deepEqual(headers.get("x-bin"), ["AQI", "AwQ"]);
  assert.deepEqual(headers.get("x-list"), ["a,b", "c"]);
  assert.deepEqual(metadataFields(new Map([["X-Bin", ["AQ=="]]])), [["x-bin", "AQ"]]);
  for (const name of [":path", "grpc-status", "te", "content-type", "bad name", "ü"])
    assert.throws(() => metadataFields(new Map([[name, ["v"]]])), isInvalidArgument, name);
  assert.throws(() => metadataFields(new Map([["x", ["a\r\nb"]]])), isInvalidArgument);
});

test("status trailers, long ones shortened", () => {
  const status = { code: 5, message: "ü".repeat(100_000), details: [], hint: "try\nagain" };
  const fields = statusFields(status);
  assert.ok(fields.reduce((n, [, value]) => n + value.length, 0) < 40_000);
  const back = statusFromTrailers(collectHeaders(fields.map(([name, value]) => ({ name, value }))));
  assert.equal(back?.code, 5);
  assert.equal(back?.hint, "try\nagain");
  assert.equal(statusFromTrailers(new Map()), undefined);
  assert.equal(statusFromTrailers(new Map([["grpc-status", ["x"]]]))?.code, 2);
});

test("content types", () => {
  for (const good of [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc;charset=x",
    "Application/gRPC",
  ])
    assert.ok(isGrpcContentType(good), good);
  for (const bad of [undefined, "", "application/grpc-web", "application/grpc+json", "text/plain"])
    assert.ok(!isGrpcContentType(bad), String(bad));
});
