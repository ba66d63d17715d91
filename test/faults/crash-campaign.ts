/**
 * crash-campaign.ts [--rounds N] [--seed S] [--keepers K]: kills the daemon and shims N times at random moments; prints what was
 * lost or left, and the times to readiness. Exit code 1 when anything was. Needs root.
 */
import { parseArgs } from "node:util";
import { crashCampaign } from "./campaign.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    keepers: { type: "string", default: "5" },
  },
});
const [rounds, seed, keepers] = [values.rounds, values.seed, values.keepers].map(Number);
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const result = await crashCampaign({
  rounds: rounds ?? 100,
  seed: seed ?? 1,
  keepers: keepers ?? 5,
  log: (line) => console.log(line),
  signal: stop.signal,
});
const at = (part: number): string =>
  (result.ready[Math.ceil(result.ready.length * part) - 1] ?? 0).toFixed(0);
console.log(`killed during: ${JSON.stringify(result.kills)}`);
console.log(`ready again: median ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`);
console.log(`${result.faults.length} faults in ${result.ready.length} rounds, seed ${seed}`);
process.exit(result.faults.length === 0 ? 0 : 1);
