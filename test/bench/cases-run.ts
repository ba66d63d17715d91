/** Containers: P1 run, P2 exec, P3 start of the client, P8 shims, P9 memory of the daemon, P12 start of the daemon. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { imageName } from "../fixtures/images.ts";
import { type Bench, type Engine, startEngine } from "./engine.ts";
import { interleave, memory, type Row, timed } from "./measure.ts";

const IMAGE = imageName("busybox");

/** P1: `ctr run --rm IMAGE true`, and what runc alone needs for the same process. */
export async function run(bench: Bench): Promise<Row[]> {
  const bundle = makeBundle(bench);
  try {
    for (const engine of [bench.ours, bench.reference])
      engine.ctr("images", "import", bench.images.archive("busybox"));
    const ctr = (engine: Engine) => (round: number) =>
      timed(() => engine.ctr("run", "--rm", IMAGE, `p1-${round + 1}`, "true"));
    const own = (engine: Engine) => (round: number) =>
      timed(() => engine.own("run", "--rm", IMAGE, `p1o-${round + 1}`, "true"));
    const { a, b, c, d, runc } = await interleave(bench.rounds, {
      a: ctr(bench.ours),
      b: ctr(bench.reference),
      c: own(bench.ours),
      d: own(bench.reference),
      runc: () => timed(() => execFileSync("runc", ["run", "--bundle", bundle, `bench-${process.pid}`])),
    });
    return [
      { id: "P1", what: "ctr run --rm true, same client", unit: "ms", ours: a, reference: b, goal: 0.6 },
      { id: "P1", what: "ctr run --rm true, own client", unit: "ms", ours: c, reference: d, goal: 0.6 },
      {
        id: "P1",
        what: "ctr run --rm true against bare runc run",
        unit: "ms",
        ours: c,
        reference: runc,
        goal: 1.3,
      },
    ];
  } finally {
    rmSync(join(bundle, ".."), { recursive: true, force: true });
  }
}

/** A bundle for runc alone: busybox's `true`. */
function makeBundle(bench: Bench): string {
  const dir = mkdtempSync(join(tmpdir(), "gantry-bench-"));
  const bundle = join(dir, "bundle");
  const rootfs = join(bundle, "rootfs");
  mkdirSync(rootfs, { recursive: true });
  const layer = layerOf(bench, "busybox");
  execFileSync("tar", ["-xzf", layer, "-C", rootfs]);
  execFileSync("runc", ["spec"], { cwd: bundle });
  const path = join(bundle, "config.json");
  const spec = JSON.parse(readFileSync(path, "utf8"));
  spec.process.args = ["/bin/true"];
  spec.process.terminal = false;
  writeFileSync(path, JSON.stringify(spec));
  return bundle;
}

/** Path of the first layer's blob of a fixture image. */
function layerOf(bench: Bench, name: string): string {
  const blob = (digest: string): string => join(bench.images.layout, "blobs/sha256", digest.slice(7));
  const manifest = JSON.parse(readFileSync(blob(bench.images.digest(name)), "utf8"));
  return blob(manifest.layers[0].digest);
}

/** P2: a further process in a running container. Ids differ: both daemons keep runc's state in one folder of the machine. */
export async function exec(bench: Bench): Promise<Row[]> {
  const engines = [bench.ours, bench.reference];
  const id = (engine: Engine): string => `p2-${engine === bench.ours ? "ours" : "theirs"}`;
  for (const engine of engines) {
    engine.ctr("images", "import", bench.images.archive("busybox"));
    engine.ctr("run", "-d", IMAGE, id(engine), "sleep", "1000");
  }
  const same = (engine: Engine) => (round: number) =>
    timed(() => engine.ctr("tasks", "exec", "--exec-id", `e${round + 1}`, id(engine), "true"));
  const own = (engine: Engine) => (round: number) =>
    timed(() => engine.own("tasks", "exec", "--exec-id", `o${round + 1}`, id(engine), "true"));
  try {
    const { a, b, c, d } = await interleave(bench.rounds, {
      a: same(bench.ours),
      b: same(bench.reference),
      c: own(bench.ours),
      d: own(bench.reference),
    });
    return [
      { id: "P2", what: "ctr tasks exec true, same client", unit: "ms", ours: a, reference: b, goal: 0.7 },
      { id: "P2", what: "ctr tasks exec true, own client", unit: "ms", ours: c, reference: d, goal: 0.7 },
    ];
  } finally {
    for (const engine of engines) {
      engine.ctr("tasks", "rm", "-f", id(engine));
      engine.ctr("containers", "rm", id(engine));
    }
  }
}

/** P3: start of the client, alone and with one call. */
export async function client(bench: Bench): Promise<Row[]> {
  const alone = (engine: Engine) => () => timed(() => execFileSync(join(engine.bin, "ctr"), ["--version"]));
  const call = (engine: Engine) => () => timed(() => engine.own("version"));
  const { a, b, c, d } = await interleave(bench.rounds, {
    a: call(bench.ours),
    b: call(bench.reference),
    c: alone(bench.ours),
    d: alone(bench.reference),
  });
  return [
    { id: "P3", what: "ctr version (client and one call)", unit: "ms", ours: a, reference: b, goal: 0.7 },
    { id: "P3", what: "ctr --version (client alone)", unit: "ms", ours: c, reference: d },
  ];
}

const SHIMS = 10;

/** P8: shims of running containers. */
export async function shims(bench: Bench): Promise<Row[]> {
  const measure = async (engine: Engine): Promise<{ pss: number; dirty: number; rest: number }> => {
    engine.ctr("images", "import", bench.images.archive("busybox"));
    for (let i = 0; i < SHIMS; i++) engine.ctr("run", "-d", IMAGE, `p8-${i}`, "sleep", "1000");
    await delay(7_000);
    const pids = shimsOf(engine);
    const found = memory(pids);
    // longer than shims of ours are quiet before they sleep
    await delay(13_000);
    const rest = memory(pids).dirty;
    for (let i = 0; i < SHIMS; i++) {
      engine.ctr("tasks", "rm", "-f", `p8-${i}`);
      engine.ctr("containers", "rm", `p8-${i}`);
    }
    return { ...found, rest };
  };
  const ours = await measure(bench.ours);
  const reference = await measure(bench.reference);
  const what = `shims of ${SHIMS} containers`;
  return [
    { id: "P8", what: `${what}: PSS`, unit: "MB", ours: [ours.pss], reference: [reference.pss], goal: 1 },
    {
      id: "P8",
      what: `${what}: private dirty`,
      unit: "MB",
      ours: [ours.dirty],
      reference: [reference.dirty],
    },
    {
      id: "P8",
      what: `${what}, at rest: private dirty`,
      unit: "MB",
      ours: [ours.rest],
      reference: [reference.rest],
      goal: 1,
    },
  ];
}

/** The shims of an engine's running tasks: the parents of their processes, each once. */
function shimsOf(engine: Engine): number[] {
  const tasks = engine.ctr("tasks", "ls").split("\n").slice(1);
  const parents = tasks.flatMap((line) => {
    const pid = line.split(/\s+/)[1];
    if (pid === undefined || !/^[1-9]/.test(pid)) return [];
    // The second field is the program's name, in parentheses; the parent comes two fields after it.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return [Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1])];
  });
  return [...new Set(parents)];
}

/** After a busy time; memory is given back when it is over. */
const AFTER_MS = [3_000, 27_000] as const;

/** P9: memory of the daemons; called first (fresh, idle) and last (after all other cases: at once, and half a minute later). */
export async function daemonMemory(bench: Bench, when: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [i, ms] of (when === "fresh" ? AFTER_MS.slice(0, 1) : AFTER_MS).entries()) {
    await delay(ms);
    const ours = memory([bench.ours.daemon.pid]);
    const reference = memory([bench.reference.daemon.pid]);
    const what = `daemon ${when}${i === 0 ? "" : ", at rest"}`;
    const facts = { id: "P9", unit: "MB" } as const;
    rows.push({ ...facts, what: `${what}: PSS`, ours: [ours.pss], reference: [reference.pss], goal: 1.5 });
    rows.push({ ...facts, what: `${what}: private dirty`, ours: [ours.dirty], reference: [reference.dirty] });
  }
  return rows;
}

/** P12: from the start of a daemon with an empty folder to its first answer. */
export async function start(bench: Bench): Promise<Row[]> {
  const once = (name: "gantry" | "1.6" | "1.7") => async () => {
    let engine: Engine | undefined;
    const took = await timed(async () => {
      engine = await startEngine(name, "1.6");
    });
    await engine?.daemon.stop();
    return took;
  };
  const { ours, reference } = await interleave(bench.few, {
    ours: once(bench.ours.name as "gantry"),
    reference: once(bench.reference.name as "1.6"),
  });
  return [{ id: "P12", what: "daemon start to first answer, empty", unit: "ms", ours, reference, goal: 0.7 }];
}
