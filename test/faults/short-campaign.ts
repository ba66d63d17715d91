/**
 * short-campaign.ts [--count N] [--oom N] [--parallel N] [--seed S]: runs N containers that end at once and compares exit codes and
 * events with what they must be; prints what was wrong, and the times. Exit code 1 when anything was. Needs root.
 */
import { parseArgs } from "node:util";
import { shortContainers } from "./short-containers.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000" },
    oom: { type: "string", default: "50" },
    parallel: { type: "string", default: "4" },
    seed: { type: "string", default: "1" },
  },
});
const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`"${text}": not a whole number`);
  return value;
};
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const began = performance.now();
const result = await shortContainers({
  count: number(values.count),
  oom: number(values.oom),
  parallel: number(values.parallel),
  seed: number(values.seed),
  log: (line) => console.log(line),
  signal: stop.signal,
});
const at = (part: number): string =>
  (result.times[Math.ceil(result.times.length * part) - 1] ?? 0).toFixed(0);
const seconds = (performance.now() - began) / 1000;
console.log(
  `${result.done} containers in ${seconds.toFixed(0)} s; one: median ${at(0.5)} ms, p99 ${at(0.99)} ms`,
);
console.log(`${result.faults.length} faults, seed ${values.seed}`);
process.exit(result.faults.length === 0 ? 0 : 1);
