import assert from "node:assert/strict";
import { test } from "node:test";
import { retryAfter } from "./errors.ts";
import { maskText, maskUrl } from "./mask.ts";
import { proxyFor } from "./proxy.ts";

test("URLs lose userinfo and query", () => {
  assert.equal(maskUrl("https://u:p@h.test/x?sig=abc#f"), "https://h.test/x?...");
});

test("secrets in free text are replaced, control characters and length bounded", () => {
  const text = maskText(
    'GET https://u:pw@h/x?X-Sig=1 Authorization: Bearer abcdef123 {"token":"t0p","password": "x"}\n\u001b[31m',
  );
  for (const secret of ["pw@", "X-Sig=1", "abcdef123", "t0p", "\n", "\u001b"])
    assert.ok(!text.includes(secret), secret);
  assert.ok(maskText("x".repeat(9999)).length < 500);
});

test("Retry-After: seconds and dates", () => {
  assert.equal(retryAfter("3"), 3000);
  assert.equal(retryAfter("Thu, 01 Jan 1970 00:00:10 GMT", 4000), 6000);
  assert.equal(retryAfter("soon"), undefined);
});

test("proxies follow Go's rules", () => {
  const env = {
    HTTPS_PROXY: "http://p:1",
    http_proxy: "q:2",
    NO_PROXY: "a.test, .b.test,10.0.0.0/8,c.test:444,::1",
  };
  const via = (url: string): string | undefined => proxyFor(new URL(url), env);
  assert.equal(via("https://x.test/"), "http://p:1");
  assert.equal(via("http://x.test/"), "http://q:2");
  for (const url of [
    "https://a.test",
    "https://x.a.test",
    "https://x.b.test",
    "https://10.1.2.3",
    "https://c.test:444",
    "http://localhost:5000",
    "http://127.0.0.1",
  ])
    assert.equal(via(url), undefined, url);
  assert.equal(via("https://b.test"), "http://p:1");
  assert.equal(via("https://c.test"), "http://p:1");
  assert.equal(via("https://11.1.2.3"), "http://p:1");
});
