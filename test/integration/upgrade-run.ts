/**
 * Replaces the executable under running containers by another build, and back: nothing restarts, everything still works through
 * the shims of the other build.
 *
 *     bun test/integration/upgrade-run.ts [--count 100] [--from GANTRY] [--to GANTRY]
 *
 * Without --from the program under test, without --to a fresh build of these sources that says another version.
 */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { compile, hostArch, linkNames } from "../../scripts/lib/compile.ts";
import { imageName, testImages } from "../fixtures/images.ts";
import { Client, until } from "./client.ts";
import { Engine } from "./engine.ts";
import { ourBin } from "./program.ts";
import { alive, parentOf, taskRow, taskRows } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

/** What to run. */
export interface UpgradeOptions {
  /** Containers that live through it. */
  readonly count: number;
  /** Executables; see the file's comment. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly say?: (line: string) => void;
}

const VERSION = "99.0.0-test";
const IMAGE = imageName("busybox");
/** Containers started at once. */
const AT_ONCE = 8;

/** A process by number and start time: a number may come again. */
function identity(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return `${pid}@${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
}

/** A container and what must stay as it is. */
interface Live {
  readonly id: string;
  readonly pid: number;
  readonly container: string;
  readonly shim: string;
  readonly log: string;
}

async function inGroups<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < items.length; i += AT_ONCE) await Promise.all(items.slice(i, i + AT_ONCE).map(work));
}

/** Runs it. Rejects when something is not as before. */
export async function upgradeRun(options: UpgradeOptions): Promise<void> {
  const { count, say = () => {} } = options;
  const dir = mkdtempSync(join(tmpdir(), "gantry-upgrade-"));
  try {
    const from = options.from ?? join(dirname(ourBin()), "gantry");
    let to = options.to;
    if (to === undefined) {
      to = join(dir, "next");
      compile(hostArch(), to, VERSION);
    }
    mkdirSync(join(dir, "local/bin"), { recursive: true });
    await withEngine(dir, { from, to, count, say });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Plan {
  readonly from: string;
  readonly to: string;
  readonly count: number;
  readonly say: (line: string) => void;
}

async function withEngine(dir: string, plan: Plan): Promise<void> {
  const bin = join(dir, "local/bin");
  const installed = join(dir, "local/gantry");
  // as an installer does: the old file's name goes to the new one, running programs keep the old file
  const install = (executable: string): void => {
    copyFileSync(executable, `${installed}.new`);
    renameSync(`${installed}.new`, installed);
  };
  install(plan.from);
  linkNames(bin, "../gantry");
  const engine = new Engine("ours", bin);
  try {
    await engine.start();
    const ctr = new Client([join(bin, "ctr")], engine.address, engine.namespace);
    await ctr.ok("images", "import", testImages().archive("busybox"));
    const first = await serverVersion(ctr);
    const before = await startAll(engine, ctr, dir, plan.count);
    plan.say(`${first}: ${plan.count} containers run`);

    const [dies, killed, ...stay] = before;
    assert.ok(dies !== undefined && killed !== undefined);
    const second = await swap(
      engine,
      ctr,
      { install: () => install(plan.to), dies, stay: [killed, ...stay] },
      plan,
    );
    assert.notEqual(second, first, "another build answers");
    await killOne(engine, ctr, killed);
    const young = await startAll(engine, ctr, dir, 3);

    const [diesNext, ownOfNext, ...rest] = [...young, ...stay];
    assert.ok(diesNext !== undefined && ownOfNext !== undefined);
    const back = { install: () => install(plan.from), dies: diesNext, stay: [ownOfNext, ...rest] };
    assert.equal(await swap(engine, ctr, back, plan), first);
    // a shim of the newer build under the older daemon
    await killOne(engine, ctr, ownOfNext);
    await inGroups(rest, async ({ id }) => {
      await ctr.ok("tasks", "rm", "-f", id);
      await ctr.ok("containers", "rm", id);
    });
    assert.deepEqual(await taskRows(ctr), []);
    assert.doesNotMatch(engine.log(), /level=(error|fatal)/);
  } finally {
    await engine.stop();
  }
}

async function serverVersion(ctr: Client): Promise<string> {
  return /Server:\s+Version:\s+(\S+)/.exec(await ctr.ok("version"))?.[1] ?? "";
}

/** Containers that count into a log file and end with 7 when told to by a signal. */
async function startAll(engine: Engine, ctr: Client, dir: string, count: number): Promise<Live[]> {
  const names = Array.from({ length: count }, () => engine.id("up"));
  const script = "trap 'exit 7' USR1; i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done";
  await inGroups(names, async (id) => {
    await ctr.ok("run", "-d", "--log-uri", `file://${join(dir, `${id}.log`)}`, IMAGE, id, "sh", "-c", script);
  });
  const rows = new Map((await taskRows(ctr)).map((row) => [row.id, row.pid]));
  return names.map((id) => {
    const pid = rows.get(id) ?? 0;
    const shim = parentOf(pid);
    return { id, pid, container: identity(pid), shim: identity(shim), log: join(dir, `${id}.log`) };
  });
}

interface Swap {
  /** Puts the other build in place. */
  readonly install: () => void;
  /** Ends while no daemon runs. */
  readonly dies: Live;
  readonly stay: readonly Live[];
}

/** Puts the other build in place and restarts the daemon; everything must be as before, and work. @returns its version */
async function swap(
  engine: Engine,
  ctr: Client,
  { install, dies, stay: lives }: Swap,
  { say }: Plan,
): Promise<string> {
  const lines = new Map(lives.map((live) => [live.id, linesOf(live).length]));
  assert.ok(await engine.end("SIGTERM"), "the daemon ends by itself");
  process.kill(dies.pid, "SIGUSR1");
  await until("the exit while no daemon runs", () => !alive(dies.pid));
  install();
  const ms = await engine.start();
  const version = await serverVersion(ctr);
  say(`${version}: ready ${ms.toFixed(0)} ms after its start`);
  assert.equal((await taskRow(ctr, dies.id)).status, "STOPPED");
  await gone(ctr, dies);

  const rows = new Map((await taskRows(ctr)).map((row) => [row.id, row]));
  for (const live of lives) {
    assert.deepEqual(rows.get(live.id), { id: live.id, pid: live.pid, status: "RUNNING" });
    assert.equal(identity(live.pid), live.container, "the container runs on");
    assert.equal(identity(parentOf(live.pid)), live.shim, "its shim runs on");
  }
  await inGroups(lives, async ({ id }) => {
    const said = await ctr.run(
      "tasks",
      "exec",
      "--exec-id",
      engine.id("e"),
      id,
      "sh",
      "-c",
      "echo in; exit 3",
    );
    assert.equal(said.out, "in\n", said.err);
    assert.equal(said.code, 3, said.err);
  });
  for (const live of lives) {
    await until(`more of the log of ${live.id}`, () => linesOf(live).length > (lines.get(live.id) ?? 0));
    const log = linesOf(live);
    assert.deepEqual(
      log,
      log.map((_, i) => String(i + 1)),
      "no line is lost or told twice",
    );
  }
  say(`${version}: ${lives.length} containers unchanged, exec and logs work`);
  return version;
}

/** Whole lines of a container's log. */
function linesOf({ log }: Live): string[] {
  return readFileSync(log, "utf8").split("\n").slice(0, -1);
}

/** Ends a container by a signal it handles: its event, its exit code, and nothing left. */
async function killOne(engine: Engine, ctr: Client, live: Live): Promise<void> {
  const { id, pid, shim } = live;
  const watch = await watchEvents(engine);
  try {
    await ctr.ok("tasks", "kill", "-s", "SIGUSR1", id);
    await until(`the exit of ${id}`, () => !alive(pid));
    await until("the task to be stopped", async () => (await taskRow(ctr, id)).status === "STOPPED");
    await gone(ctr, live);
    await until("its events", () => watch.of(id).some(({ topic }) => topic === "/tasks/delete"));
    const exits = watch.of(id).filter(({ topic }) => topic === "/tasks/exit");
    assert.deepEqual(
      exits.map(({ body }) => body["exit_status"] ?? body["exitStatus"]),
      [7],
    );
    await until("the end of its shim", () => !alive(Number(shim.split("@")[0])));
  } finally {
    await watch.stop();
  }
}

/** Removes a container that ended; its exit code is the right one. */
async function gone(ctr: Client, { id }: Live): Promise<void> {
  const said = await ctr.run("tasks", "rm", id);
  assert.match(said.err, /exit with non-zero exit code 7\b/);
  await ctr.ok("containers", "rm", id);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { count: { type: "string", default: "100" }, from: { type: "string" }, to: { type: "string" } },
  });
  await upgradeRun({ ...values, count: Number(values.count), say: (line) => console.log(line) });
  console.log("upgrade and downgrade: nothing restarted");
}
