/**
 * crash-campaign.ts [--rounds N] [--shims N] [--seed S] [--keepers K]: kills the daemon N times at random moments (every fourth
 * time a shim with it), then single shims N times, half of them with the daemon down; prints what was lost or left, and the times
 * to readiness and to the exit event. Exit code 1 when anything was. Needs root.
 */
import { parseArgs } from "node:util";
import { crashCampaign } from "./campaign.ts";
import { shimKills } from "./shim-kills.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    shims: { type: "string", default: "0" },
    seed: { type: "string", default: "1" },
    keepers: { type: "string", default: "5" },
  },
});
const [rounds, shims, seed, keepers] = [values.rounds, values.shims, values.seed, values.keepers].map(Number);
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const at = (times: readonly number[], part: number): string =>
  (times[Math.ceil(times.length * part) - 1] ?? 0).toFixed(0);
const common = { seed: seed ?? 1, log: (line: string) => console.log(line), signal: stop.signal };
let faults = 0;
if (rounds !== undefined && rounds > 0) {
  const result = await crashCampaign({ ...common, rounds, keepers: keepers ?? 5 });
  const { ready } = result;
  console.log(`killed during: ${JSON.stringify(result.kills)}`);
  console.log(
    `ready again: median ${at(ready, 0.5)} ms, p99 ${at(ready, 0.99)} ms, longest ${at(ready, 1)} ms`,
  );
  console.log(`${result.faults.length} faults in ${ready.length} kills of the daemon, seed ${seed}`);
  faults += result.faults.length;
}
if (shims !== undefined && shims > 0) {
  const { told, ...result } = await shimKills({ ...common, rounds: shims });
  console.log(`over: median ${at(told, 0.5)} ms, p99 ${at(told, 0.99)} ms, longest ${at(told, 1)} ms`);
  console.log(`${result.faults.length} faults in ${result.rounds} kills of a shim, seed ${seed}`);
  faults += result.faults.length;
}
process.exit(faults === 0 ? 0 : 1);
