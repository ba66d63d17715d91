/** A short short-containers campaign; the long one is `bun test/faults/short-campaign.ts --count 10000 --oom 500`. Needs root. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { shortContainers } from "./short-containers.ts";

test("60 containers that end at once, 6 of them out of memory: every exit code, every event once and in order", {
  timeout: 120_000,
}, async () => {
  const result = await shortContainers({
    count: 60,
    oom: 6,
    parallel: 4,
    seed: 20_261_121,
    log: console.log,
  });
  assert.deepEqual(result.faults, []);
  assert.equal(result.done, 60);
});
