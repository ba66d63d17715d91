/**
 * The shim-kill campaign (reliability F3): the shim of a running container is killed at a random moment of a random operation,
 * every second time with the daemon down; the container must be dead, its exit told once and within two seconds, and nothing left.
 */
import { setTimeout as delay } from "node:timers/promises";
import { AFTER_RESTART, settled, steadyCensus } from "../integration/census.ts";
import { until } from "../integration/client.ts";
import { type Bed, giveBack, makeBed } from "../integration/suite.ts";
import { alive, parentOf, taskRow, taskRows } from "../integration/tasks.ts";
import { type Watch, watchEvents } from "../integration/watch.ts";
import { random } from "./campaign.ts";

/** How long and how. */
export interface ShimKillOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** What it found. */
export interface ShimKillResult {
  readonly faults: readonly string[];
  readonly rounds: number;
  /** Milliseconds from the kill (or from the daemon's first answer) to the exit event, sorted. */
  readonly told: readonly number[];
}

const LIMIT_MS = 2_000;
const WINDOW_MS = 250;
/** What clients leave that die with their task. */
const IGNORED = [...AFTER_RESTART, "fifos"];

type Operation = (bed: Bed, id: string) => Promise<unknown>;
const OPERATIONS: Readonly<Record<string, Operation>> = {
  nothing: async () => {},
  exec: ({ ctr, engine }, id) => ctr.run("tasks", "exec", "--exec-id", engine.id("e"), id, "sleep", "5"),
  pause: ({ ctr }, id) => ctr.run("tasks", "pause", id),
  metrics: ({ ctr }, id) => ctr.run("tasks", "metrics", id),
  kill: ({ ctr }, id) => ctr.run("tasks", "kill", "-s", "SIGKILL", id),
};

/** Runs it. */
export async function shimKills(options: ShimKillOptions): Promise<ShimKillResult> {
  const bed = await makeBed("ours", "ours");
  const { ctr, engine, image } = bed;
  const next = random(options.seed);
  const faults: string[] = [];
  const told: number[] = [];
  let round = 0;
  try {
    const base = await steadyCensus(engine);
    while (round < options.rounds && options.signal?.aborted !== true) {
      round++;
      const down = round % 2 === 0;
      const names = Object.keys(OPERATIONS);
      const name = names[Math.floor(next() * names.length)] ?? "nothing";
      const pause = next() * WINDOW_MS;
      const what = `round ${round}: shim killed ${pause.toFixed(0)} ms into ${name}, daemon ${down ? "down" : "up"}`;
      const fail = (why: string): void => {
        faults.push(`${what}: ${why}`);
        options.log(`FAULT ${what}: ${why}`);
      };
      const id = engine.id("victim");
      await ctr.ok("run", "-d", image, id, "sh", "-c", "while :; do sleep 0.2; done");
      const { pid } = await taskRow(ctr, id);
      const shim = parentOf(pid);
      let events: Watch | undefined = down ? undefined : await watchEvents(engine);
      const operation = OPERATIONS[name]?.(bed, id);
      await delay(pause);
      let began = performance.now();
      if (down) {
        await engine.end("SIGKILL");
        process.kill(shim, "SIGKILL");
        // the first event may come before anybody can listen: what counts is what is known at the first answer
        await engine.start();
        began = performance.now();
        events = await watchEvents(engine);
      } else {
        process.kill(shim, "SIGKILL");
        const seen = events;
        await until("the exit", () => exits(seen, id) > 0, 10_000).catch(() =>
          fail("its exit was not told in 10 s"),
        );
      }
      await until("the end", () => !alive(pid), 10_000).catch(() => fail("the container lives on"));
      // one that had ended before its shim died stays known, as ended
      const row = async () => (await taskRows(ctr)).find((found) => found.id === id);
      const over = async (): Promise<boolean> => ["STOPPED", undefined].includes((await row())?.status);
      await until("the end of the task", over).catch(() => fail("its task is still running"));
      const ms = performance.now() - began;
      told.push(ms);
      if (ms > LIMIT_MS) fail(`over after ${ms.toFixed(0)} ms`);
      await operation;
      if ((await row()) !== undefined) await ctr.run("tasks", "rm", id);
      await ctr.ok("containers", "rm", id);
      if (events !== undefined) {
        const count = exits(events, id);
        if (count > 1 || (!down && count !== 1)) fail(`${count} exit events`);
        await events.stop();
      }
      const left = await settled(engine, base, IGNORED);
      if (left !== "") fail(`\n${left}`);
      options.log(`${what}: over after ${ms.toFixed(0)} ms`);
    }
  } finally {
    await giveBack(bed);
  }
  return { faults, rounds: round, told: told.sort((a, b) => a - b) };
}

const exits = (events: Watch | undefined, id: string): number =>
  (events?.of(id) ?? []).filter((e) => e.topic === "/tasks/exit" && e.body["id"] === id).length;
