/**
 * Faults at system calls of the daemon's main thread: an operation is watched once, and then done again for its calls number `from`,
 * `from + step`, ..., each time with a fault at that call. After each nothing may be lost or left.
 */
import { settled, steadyCensus } from "../integration/census.ts";
import { type Bed, giveBack, makeBed } from "../integration/suite.ts";
import type { TaskRow } from "../integration/tasks.ts";
import {
  type CampaignOptions,
  checkAndClear,
  IGNORED,
  OPERATIONS,
  type Operation,
  startKeepers,
  startVictim,
} from "./campaign.ts";
import { type CallPoint, pointsOf, trace } from "./tracer.ts";

/** Which points. */
export interface PointOptions extends Omit<CampaignOptions, "rounds" | "seed"> {
  readonly operations: readonly string[];
  /** The first call, counted from 1. */
  readonly from: number;
  /** From one call to the next. */
  readonly step: number;
  /** Most points of one operation. */
  readonly most: number;
}

/** What was found. */
export interface PointResult {
  readonly faults: readonly string[];
  /** Points that were reached, by operation. */
  readonly points: Readonly<Record<string, number>>;
}

/** One point, as it is to be made. */
export interface Attempt {
  readonly bed: Bed;
  readonly operation: Operation;
  /** A container that runs. */
  readonly victim: string;
  readonly at: CallPoint;
  readonly fail: (why: string) => void;
}

/** A kind of fault. */
export interface FaultKind {
  /** Names of the calls it is made at, with commas. */
  readonly calls: string;
  /** Does it, and leaves a daemon that answers. @returns the call as strace printed it; undefined when it was not made this time */
  readonly make: (attempt: Attempt) => Promise<string | undefined>;
}

/** Runs it. @throws only when the daemon does not come back, or strace cannot trace */
export async function faultsAtCalls(options: PointOptions, kind: FaultKind): Promise<PointResult> {
  const bed = await makeBed("ours", "1.6");
  try {
    return await allPoints(bed, options, kind);
  } finally {
    await giveBack(bed);
  }
}

async function allPoints(bed: Bed, options: PointOptions, kind: FaultKind): Promise<PointResult> {
  const { ctr, engine } = bed;
  const faults: string[] = [];
  const points: Record<string, number> = {};
  const keepers = await startKeepers(bed, options.keepers);
  let base = await steadyCensus(engine);
  for (const name of options.operations) {
    const calls = await watch(bed, keepers, name, kind.calls);
    options.log(`${name}: ${calls.length} calls`);
    let made = 0;
    for (let n = options.from; made < options.most && options.signal?.aborted !== true; ) {
      const at = calls[n - 1];
      if (at === undefined) break;
      const found: string[] = [];
      const fail = (why: string): void => void found.push(why);
      const { victim } = await startVictim(bed);
      const line = await kind.make({ bed, operation: operationOf(name), victim, at, fail });
      await checkAndClear(bed, keepers, fail);
      const left = await settled(engine, base, IGNORED);
      if (left !== "") {
        fail(`\n${left}`);
        // each fault is told once: what a start does not clear away is another
        await engine.end("SIGKILL");
        await engine.start();
        base = await steadyCensus(engine);
      }
      const what = `${name}, call ${n} of ${calls.length}: ${line ?? `no ${at.name} number ${at.nth} this time`}`;
      options.log(what);
      for (const why of found) {
        faults.push(`${what}: ${why}`);
        options.log(`FAULT ${what}: ${why}`);
      }
      // no two runs are quite the same: the next call does as well
      n += line === undefined ? 1 : options.step;
      if (line !== undefined) points[name] = ++made;
    }
  }
  for (const { id } of keepers) {
    await ctr.ok("tasks", "rm", "-f", id);
    await ctr.ok("containers", "rm", id);
  }
  return { faults, points };
}

function operationOf(name: string): Operation {
  const operation = OPERATIONS[name];
  if (operation === undefined)
    throw new Error(`operation "${name}": none of ${Object.keys(OPERATIONS).join(", ")}`);
  return operation;
}

/** The calls of an operation to which nothing happens. */
async function watch(
  bed: Bed,
  keepers: readonly TaskRow[],
  name: string,
  calls: string,
): Promise<readonly CallPoint[]> {
  const { victim } = await startVictim(bed);
  const tracer = await trace(bed.engine.pid, calls);
  await operationOf(name)(bed, victim);
  await tracer.stop();
  await checkAndClear(bed, keepers, (why) => {
    throw new Error(`${name}, without a fault: ${why}`);
  });
  return pointsOf(tracer.lines);
}
