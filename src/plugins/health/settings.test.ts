import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHealth } from "./settings.ts";

const parse = (labels: Record<string, string>) =>
  parseHealth(new Map(Object.entries(labels).map(([key, value]) => [`gantry.health/${key}`, value])));

test("defaults, words, times", () => {
  assert.equal(parse({ interval: "1s" }), undefined);
  assert.deepEqual(parse({ cmd: "test -e /x" }), {
    args: ["sh", "-c", "test -e /x"],
    intervalMs: 30_000,
    timeoutMs: 30_000,
    retries: 3,
    startPeriodMs: 0,
    kill: false,
  });
  const all = {
    cmd: '["/bin/check", "a b"]',
    interval: "1m",
    timeout: "500ms",
    retries: "1",
    "start-period": "2s",
  };
  assert.deepEqual(parse({ ...all, "on-failure": "kill" }), {
    args: ["/bin/check", "a b"],
    intervalMs: 60_000,
    timeoutMs: 500,
    retries: 1,
    startPeriodMs: 2000,
    kill: true,
  });
});

test("what is wrong is named", () => {
  for (const [key, value] of Object.entries({
    cmd: "[1]",
    interval: "0s",
    timeout: "soon",
    retries: "0",
    "start-period": "-1s",
    "on-failure": "explode",
  }))
    assert.throws(() => parse({ cmd: "true", [key]: value }), {
      code: "invalid-argument",
      message: new RegExp(key),
    });
});
