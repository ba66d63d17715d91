/** A short run of the clients that die half-way; longer: GANTRY_CLIENT_ROUNDS, another one: GANTRY_FUZZ_SEED. Needs root. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cannotRun } from "../integration/cri-bed.ts";
import { breakCriCalls, killClients } from "./client-kills.ts";

const rounds = Number(process.env["GANTRY_CLIENT_ROUNDS"] ?? 3);
const seed = Number(process.env["GANTRY_FUZZ_SEED"] ?? 1);
const log = rounds > 10 ? console.error : (): void => {};
const options = { skip: cannotRun, timeout: 3_600_000 };

test(`${rounds} rounds of ctr killed half-way: nothing is left`, options, async () => {
  assert.deepEqual(await killClients({ rounds, seed, log }), []);
});

test(`${rounds} rounds of CRI calls whose connection breaks: nothing is left`, options, async () => {
  assert.deepEqual(await breakCriCalls({ rounds, seed, log }), []);
});
