import assert from "node:assert/strict";
import { test } from "node:test";
import { blockIoOf } from "./blockio.ts";

const find = (pattern: string) =>
  pattern === "/dev/sd*"
    ? [
        { major: 8, minor: 0 },
        { major: 8, minor: 16 },
      ]
    : [];
const FILE = `
Classes:
  Slow:
    - Devices: ["/dev/sd*"]
      ThrottleReadBps: 60k
      throttleWriteIOPS: 5
      Weight: 80
    - Weight: 20
  broken:
    - ThrottleReadBps: 1
`;

test("a class: weights and throttles of every device that fits, the container's own weight", () => {
  assert.deepEqual(blockIoOf(FILE, "slow", find), {
    weight: 20,
    weightDevice: [
      { major: 8, minor: 0, weight: 80 },
      { major: 8, minor: 16, weight: 80 },
    ],
    throttleReadBpsDevice: [
      { major: 8, minor: 0, rate: 60_000 },
      { major: 8, minor: 16, rate: 60_000 },
    ],
    throttleWriteIOPSDevice: [
      { major: 8, minor: 0, rate: 5 },
      { major: 8, minor: 16, rate: 5 },
    ],
  });
});

test("what is wrong is named", () => {
  assert.throws(() => blockIoOf(FILE, "fast", find), { code: "not-found", hint: /slow, broken/ });
  assert.throws(() => blockIoOf(FILE, "broken", find), /needs devices/);
  assert.throws(
    () => blockIoOf("Classes:\n  a:\n    - Devices: [/dev/x]\n      Weight: 1\n", "a", find),
    /block device/,
  );
  assert.throws(() => blockIoOf("a: [", "a", find), /read blockio configuration/);
  assert.throws(() => blockIoOf("Classes:\n  a:\n    - Weight: much\n", "a", find), /Weight "much"/);
});
