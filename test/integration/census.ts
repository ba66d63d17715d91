/**
 * The leak census: everything an engine can leave behind, counted before and after a test. Two questions: is something there
 * that was not (processes, mounts, cgroups, FIFOs, sockets, open files, rows), and do the stores agree with their own rows
 * (snapshots and blobs on disk, bundles and runc's state against tasks).
 */
import { setTimeout as delay } from "node:timers/promises";
import { attachedLoops } from "../../src/platform/mounts/loop.ts";
import type { Client } from "./client.ts";
import type { Engine } from "./engine.ts";
import {
  cgroupsOf,
  entries,
  fifosOf,
  mountsOf,
  openFilesOf,
  processesOf,
  shimSocketsOf,
  tree,
  zombiesOf,
} from "./traces.ts";

/** One count: for every kind of thing its instances, sorted. */
export type Census = Readonly<Record<string, readonly string[]>>;

/** Longest time to wait for what is cleaned up in the background. Milliseconds. */
const SETTLE_MS = 12_000;

/** Warm shims (ten after a burst) and idle helpers that a daemon may keep. */
const SPARES = 13;

/** Counts. `seen` collects every container id, so that sockets of removed ones are looked for too. */
export async function takeCensus(engine: Engine): Promise<Census> {
  // Debian's client: fast, and not under test
  const client = engine.client("1.6");
  const namespaces = lines(await client.ok("namespaces", "ls", "-q"));
  const census: Record<string, string[]> = { namespaces };
  const rows: Record<string, string[]> = {
    containers: [],
    tasks: [],
    images: [],
    content: [],
    ingests: [],
    leases: [],
    snapshots: [],
  };
  for (const namespace of namespaces) await readRows(client.in(namespace), rows);
  Object.assign(census, rows);
  for (const id of rows["containers"] ?? []) engine.seen.add(id);

  // without pids: a spare shim is replaced by another one
  census["processes"] = numbered(
    processesOf(engine)
      .filter((p) => !p.spare)
      .map((p) => p.why),
  );
  const spares = processesOf(engine).filter((p) => p.spare).length;
  census[SPARE] = Array.from({ length: spares }, (_, i) => `#${i + 1}`);
  census["children without a container"] =
    spares > SPARES ? [`${spares}, at most ${SPARES} are expected`] : [];
  census["zombies of the daemon"] = numbered(zombiesOf(engine.pid));
  census["mounts"] = mountsOf(engine);
  census["loop devices"] = attachedLoops()
    .map(({ file }) => file)
    .filter((file) => [engine.root, engine.state].some((folder) => file.startsWith(`${folder}/`)));
  census["network namespaces"] = entries("/run/netns");
  census["cgroups"] = cgroupsOf(engine).filter((path) => !namespaces.some((ns) => path.endsWith(`/${ns}`)));
  census["fifos"] = fifosOf(engine);
  census["shim sockets"] = shimSocketsOf(
    engine,
    [...engine.seen].map((id) => [id.split("/")[0] ?? "", id.split("/")[1] ?? ""] as const),
  );
  census[OPEN_FILES] = numbered(openFilesOf(engine.pid).filter((path) => !KEPT_OPEN.test(path)));
  const bundles = tree(`${engine.state}/io.containerd.runtime.v2.task`, 2);
  const work = tree(`${engine.root}/io.containerd.runtime.v2.task`, 2);
  const runc = namespaces.flatMap((ns) => entries(`/run/containerd/runc/${ns}`).map((id) => `${ns}/${id}`));
  const tasks = rows["tasks"] ?? [];
  census["bundles without a task"] = without(bundles, tasks);
  census["tasks without a bundle"] = without(tasks, bundles);
  census["work folders without a task"] = without(work, tasks);
  census["runc state without a task"] = without(runc, tasks);

  const blobs = entries(`${engine.root}/io.containerd.content.v1.content/blobs/sha256`).map(
    (hex) => `sha256:${hex}`,
  );
  const content = new Set((rows["content"] ?? []).map((row) => row.split("/")[1] ?? ""));
  census["blobs without a row"] = without(blobs, [...content]);
  census["rows without a blob"] = without([...content], blobs);
  census["ingest folders"] = entries(`${engine.root}/io.containerd.content.v1.content/ingest`);
  const disk = entries(`${engine.root}/io.containerd.snapshotter.v1.overlayfs/snapshots`);
  census["snapshots on disk"] = disk;
  const count = rows["snapshots"]?.length ?? 0;
  census["snapshots against rows"] = disk.length === count ? [] : [`${disk.length} on disk, ${count} rows`];
  for (const list of Object.values(census)) list.sort();
  return census;
}

async function readRows(client: Client, rows: Record<string, string[]>): Promise<void> {
  const ask: readonly (readonly [string, readonly string[]])[] = [
    ["containers", ["containers", "ls", "-q"]],
    ["tasks", ["tasks", "ls", "-q"]],
    ["images", ["images", "ls", "-q"]],
    ["content", ["content", "ls", "-q"]],
    ["leases", ["leases", "ls", "-q"]],
  ];
  const said = await Promise.all(ask.map(([, args]) => client.ok(...args)));
  for (const [i, [kind]] of ask.entries())
    rows[kind]?.push(...lines(said[i] ?? "").map((row) => `${client.namespace}/${row}`));
  for (const [kind, args] of [
    ["snapshots", ["snapshots", "ls"]],
    ["ingests", ["content", "active"]],
  ] as const) {
    const body = lines(await client.ok(...args)).slice(1);
    rows[kind]?.push(...body.map((line) => `${client.namespace}/${line.split(/\s+/)[0]}`));
  }
}

/** What changed and what does not agree, one thing a line; "" when all is well. */
export function difference(before: Census, after: Census): string {
  const out: string[] = [];
  const spares = Math.max(0, (after[SPARE]?.length ?? 0) - (before[SPARE]?.length ?? 0));
  for (const [kind, now] of Object.entries(after)) {
    if (kind === SPARE) continue;
    const then = before[kind] ?? [];
    const more = without(now, then);
    for (const thing of kind === OPEN_FILES ? beyondSlack(more, spares) : more)
      out.push(`left over: ${kind}: ${thing}`);
    if (kind !== OPEN_FILES && kind !== "processes")
      for (const thing of without(then, now)) out.push(`lost: ${kind}: ${thing}`);
  }
  return out.join("\n");
}

const OPEN_FILES = "open files of the daemon";
/** Opened at the first start of a container, for good: where the daemon itself is. */
const KEPT_OPEN = /^\/proc\/\d+\/cgroup$|^\/sys\/fs\/cgroup\/.*\/cgroup\.procs$/;
/** How many there are may change between two counts. */
const SPARE = "spare processes";
/** A spare shim or helper that is started or replaced between two counts moves these by so many. */
const SLACK = 3;

function beyondSlack(more: readonly string[], spares: number): string[] {
  const anonymous = more.filter((thing) => /^(socket|pipe|anon_inode:\[pidfd\])/.test(thing));
  return anonymous.length <= SLACK * (1 + spares)
    ? more.filter((thing) => !anonymous.includes(thing))
    : [...more];
}

/** Things that must be empty in every census, whatever came before. */
const ALWAYS_EMPTY = [
  "children without a container",
  "zombies of the daemon",
  "bundles without a task",
  "tasks without a bundle",
  "work folders without a task",
  "runc state without a task",
  "blobs without a row",
  "rows without a blob",
  "snapshots against rows",
];

/** Where the stores disagree with their rows. */
export const disagreements = (census: Census): string =>
  ALWAYS_EMPTY.flatMap((kind) => (census[kind] ?? []).map((thing) => `${kind}: ${thing}`)).join("\n");

/**
 * The difference that stays: counts until there is none, for at most 12 s.
 * @param ignore kinds that may differ
 */
export async function settled(
  engine: Engine,
  before: Census,
  ignore: readonly string[] = [],
): Promise<string> {
  const end = Date.now() + SETTLE_MS;
  let nudge = engine.isOurs ? Number.POSITIVE_INFINITY : Date.now() + SETTLE_MS / 4;
  for (;;) {
    if (Date.now() > nudge) {
      // containerd may wait for a change before it collects what a busy machine kept it from
      const client = engine.client("1.6");
      await client.ok("leases", "rm", "--sync", (await client.ok("leases", "create")).trim());
      nudge = Number.POSITIVE_INFINITY;
    }
    const now = await takeCensus(engine);
    const drop = (census: Census): Census =>
      Object.fromEntries(Object.entries(census).filter(([kind]) => !ignore.includes(kind)));
    const found = [difference(drop(before), drop(now)), disagreements(now)].filter(Boolean).join("\n");
    if (found === "" || Date.now() > end) return found;
    await delay(50);
  }
}

/** A count in which stores and rows agree, or the last one after 12 s. */
export async function steadyCensus(engine: Engine): Promise<Census> {
  const end = Date.now() + SETTLE_MS;
  for (;;) {
    const now = await takeCensus(engine);
    if (disagreements(now) === "" || Date.now() > end) return now;
    await delay(50);
  }
}

/** Kinds that a new daemon process has of its own. */
export const AFTER_RESTART: readonly string[] = [OPEN_FILES];

function without(list: readonly string[], other: readonly string[]): string[] {
  const known = new Set(other);
  return list.filter((item) => !known.has(item));
}

/** Makes equal things distinct, so that a second socket shows. */
function numbered(list: readonly string[]): string[] {
  const counts = new Map<string, number>();
  return list.map((item) => {
    const n = (counts.get(item) ?? 0) + 1;
    counts.set(item, n);
    return n === 1 ? item : `${item} #${n}`;
  });
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line.trim() !== "");
}
