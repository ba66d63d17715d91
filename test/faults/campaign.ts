/**
 * The crash campaign (reliability F1, F3): the daemon, or a shim, is killed at a random moment of a random operation while
 * containers run; the daemon is started again; nothing may be lost and nothing left. Every random choice comes from the seed.
 */
import { setTimeout as delay } from "node:timers/promises";
import { AFTER_RESTART, settled, steadyCensus } from "../integration/census.ts";
import type { Client } from "../integration/client.ts";
import { type Bed, giveBack, makeBed } from "../integration/suite.ts";
import { alive, parentOf, type TaskRow, taskRows } from "../integration/tasks.ts";

/** How long and how. */
export interface CampaignOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Containers that must live through all of it. */
  readonly keepers: number;
  readonly log: (line: string) => void;
  /** Ends it after the round that runs; what was started is given back. */
  readonly signal?: AbortSignal;
}

/** What it found. */
export interface CampaignResult {
  /** One line per thing that was wrong, with its round. */
  readonly faults: readonly string[];
  /** Milliseconds from each start of the daemon to its first answer, sorted. */
  readonly ready: readonly number[];
  readonly kills: Readonly<Record<string, number>>;
}

/** Longest pause before the kill: about as long as the slowest operation. Milliseconds. */
const WINDOW_MS = 500;
/** What a client that died with its daemon leaves is its own. */
export const IGNORED = [...AFTER_RESTART, "fifos"];

/** Numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export type Operation = (bed: Bed, victim: string) => Promise<unknown>;

/** What goes on when the kill comes. `victim` is a container of this round that runs already. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  run: ({ ctr, engine, image }) => ctr.run("run", "--rm", image, engine.id("op"), "sh", "-c", "exit 3"),
  "run -d": ({ ctr, engine, image }) => ctr.run("run", "-d", image, engine.id("op"), "sleep", "1000"),
  exec: ({ ctr, engine }, victim) => ctr.run("tasks", "exec", "--exec-id", engine.id("e"), victim, "true"),
  kill: ({ ctr }, victim) => ctr.run("tasks", "kill", "-s", "SIGKILL", victim),
  rm: async ({ ctr }, victim) => {
    await ctr.run("tasks", "rm", "-f", victim);
    await ctr.run("containers", "rm", victim);
  },
  pull: async ({ ctr, registry }) => {
    await ctr.run("images", "pull", "--plain-http", registry.ref("layers10"));
    await ctr.run("images", "rm", "--sync", registry.ref("layers10"));
  },
};

/** Runs it. @throws only when the daemon does not come back */
export async function crashCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const bed = await makeBed("ours", "1.6");
  try {
    return await rounds(bed, options);
  } finally {
    await giveBack(bed);
  }
}

async function rounds(bed: Bed, options: CampaignOptions): Promise<CampaignResult> {
  const { ctr, engine } = bed;
  const next = random(options.seed);
  const faults: string[] = [];
  const ready: number[] = [];
  const kills: Record<string, number> = {};
  const keepers = await startKeepers(bed, options.keepers);
  const base = await steadyCensus(engine);
  for (let round = 1; round <= options.rounds && options.signal?.aborted !== true; round++) {
    const names = Object.keys(OPERATIONS);
    const name = names[Math.floor(next() * names.length)] ?? "run";
    const shim = next() < 0.25;
    const pause = next() * WINDOW_MS;
    const what = `round ${round}: ${shim ? "shim and daemon" : "daemon"} killed ${pause.toFixed(0)} ms into ${name}`;
    const fail = (why: string): void => {
      faults.push(`${what}: ${why}`);
      options.log(`FAULT ${what}: ${why}`);
    };
    kills[name] = (kills[name] ?? 0) + 1;
    const { victim, victimPid } = await startVictim(bed);
    const operation = OPERATIONS[name]?.(bed, victim);
    await delay(pause);
    const parent = parentOf(victimPid);
    // never a pid that is not a shim of ours any more
    if (shim && parent > 1 && parent !== process.pid && alive(victimPid)) process.kill(parent, "SIGKILL");
    await engine.end("SIGKILL");
    await operation;
    const ms = await engine.start();
    ready.push(ms);
    options.log(`${what}: ready after ${ms.toFixed(0)} ms`);
    await checkAndClear(bed, keepers, fail);
    if (shim && alive(victimPid)) fail("the container of the killed shim lives on");
    const left = await settled(engine, base, IGNORED);
    if (left !== "") fail(`\n${left}`);
  }
  for (const { id } of keepers) {
    await ctr.ok("tasks", "rm", "-f", id);
    await ctr.ok("containers", "rm", id);
  }
  return { faults, ready: ready.sort((a, b) => a - b), kills };
}

/** Containers that must live through all of it. */
export async function startKeepers({ ctr, engine, image }: Bed, count: number): Promise<readonly TaskRow[]> {
  for (let i = 0; i < count; i++) await ctr.ok("run", "-d", image, engine.id("keeper"), "sleep", "1000000");
  return await taskRows(ctr);
}

/** A container of one round. */
export async function startVictim({
  ctr,
  engine,
  image,
}: Bed): Promise<{ victim: string; victimPid: number }> {
  const victim = engine.id("victim");
  await ctr.ok("run", "-d", image, victim, "sh", "-c", "while :; do sleep 0.2; done");
  const victimPid = (await taskRows(ctr)).find((row) => row.id === victim)?.pid ?? 0;
  return { victim, victimPid };
}

/** After the daemon is back: the keepers live and can be used, and what the round made can be removed. */
export async function checkAndClear(
  { ctr, engine }: Bed,
  keepers: readonly TaskRow[],
  fail: (why: string) => void,
): Promise<void> {
  checkKeepers(keepers, await taskRows(ctr), fail);
  const execId = engine.id("e");
  const said = await ctr.run("tasks", "exec", "--exec-id", execId, keepers[0]?.id ?? "", "echo", "here");
  if (said.out !== "here\n")
    fail(
      `exec in a container that lived through it: code ${said.code}, ${JSON.stringify(said.out)}: ${said.err}`,
    );
  await clearRound(ctr, keepers, fail);
}

function checkKeepers(
  keepers: readonly TaskRow[],
  now: readonly TaskRow[],
  fail: (why: string) => void,
): void {
  const byId = new Map(now.map((row) => [row.id, row]));
  for (const keeper of keepers) {
    const row = byId.get(keeper.id);
    if (row?.pid !== keeper.pid || row.status !== "RUNNING")
      fail(`${keeper.id} was pid ${keeper.pid} RUNNING, is ${row?.pid} ${row?.status}`);
    if (!alive(keeper.pid)) fail(`${keeper.id} is dead`);
  }
}

/** Removes what the round made, as a user would: tasks, containers, and what the dead client had held. */
export async function clearRound(
  ctr: Client,
  keepers: readonly TaskRow[],
  fail: (why: string) => void,
): Promise<void> {
  const keep = new Set(keepers.map((row) => row.id));
  const list = async (...args: string[]): Promise<string[]> =>
    (await ctr.ok(...args)).split("\n").filter((id) => id !== "" && !keep.has(id));
  const step = async (...args: string[]): Promise<void> => {
    const said = await ctr.run(...args);
    // what nobody holds may be collected between the list and the removal
    const collected = args[0] === "snapshots" && /not found/.test(said.err);
    if (said.code !== 0 && !collected) fail(`ctr ${args.join(" ")}: ${said.err}`);
  };
  for (const id of await list("tasks", "ls", "-q")) await step("tasks", "rm", "-f", id);
  for (const id of await list("containers", "ls", "-q")) await step("containers", "rm", id);
  for (const ref of await list("images", "ls", "-q"))
    if (ref.includes("layers10")) await step("images", "rm", ref);
  // an active snapshot is the client's, which was to remove it
  const snapshots = (await ctr.ok("snapshots", "ls")).split("\n").slice(1);
  for (const row of snapshots) {
    const key = row.split(/\s+/)[0] ?? "";
    if (/Active/.test(row) && !keep.has(key)) await step("snapshots", "rm", key);
  }
  const leases = await list("leases", "ls", "-q");
  for (const id of leases) await step("leases", "rm", id);
  const one = (await ctr.ok("leases", "create")).trim();
  await step("leases", "rm", "--sync", one);
}
