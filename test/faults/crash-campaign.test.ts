/** A short crash campaign; the long one is `bun test/faults/crash-campaign.ts --rounds 1000 --shims 200`. Needs root. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crashCampaign, random } from "./campaign.ts";
import { shimKills } from "./shim-kills.ts";

const ROUNDS = 10;
const SEED = 20_261_121;

test(`${ROUNDS} kills of the daemon: nothing lost, nothing left`, { timeout: 170_000 }, async () => {
  const result = await crashCampaign({
    rounds: ROUNDS,
    seed: SEED,
    keepers: 3,
    log: (line) => console.log(line),
  });
  assert.deepEqual(result.faults, []);
});

test("8 kills of a shim, half of them without a daemon: dead, told once and in time, nothing left", {
  timeout: 120_000,
}, async () => {
  const result = await shimKills({ rounds: 8, seed: SEED, log: (line) => console.log(line) });
  assert.deepEqual(result.faults, []);
});

test("a seed gives the same numbers", () => {
  const [a, b] = [random(7), random(7)];
  for (let i = 0; i < 5; i++) assert.equal(a(), b());
});
