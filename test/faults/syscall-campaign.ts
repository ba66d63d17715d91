/**
 * syscall-campaign.ts [--from N] [--step N] [--most N] [--error EIO] [OPERATION...]: kills the daemon at the N-th, N+step-th, ... system
 * call with an effect that its main thread makes in each operation (run, run -d, exec, kill, rm, pull; all of them when none is named), or
 * lets that call fail, and prints what was lost or left. Exit code 1 when anything was. Needs root and strace.
 */
import { parseArgs } from "node:util";
import { OPERATIONS } from "./campaign.ts";
import { syscallErrors } from "./syscall-errors.ts";
import { syscallKills } from "./syscall-kills.ts";
import type { PointOptions } from "./syscall-points.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    from: { type: "string", default: "1" },
    step: { type: "string", default: "1" },
    most: { type: "string", default: "100000" },
    error: { type: "string" },
  },
});
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const points: PointOptions = {
  operations: positionals.length > 0 ? positionals : Object.keys(OPERATIONS),
  from: Number(values.from),
  step: Number(values.step),
  most: Number(values.most),
  keepers: 2,
  log: (line) => console.log(line),
  signal: stop.signal,
};
const { error } = values;
const result = await (error === undefined ? syscallKills(points) : syscallErrors(points, error));
console.log(`points: ${JSON.stringify(result.points)}`);
const total = Object.values(result.points).reduce((sum, count) => sum + count, 0);
console.log(`${result.faults.length} faults at ${total} points`);
process.exit(result.faults.length === 0 ? 0 : 1);
