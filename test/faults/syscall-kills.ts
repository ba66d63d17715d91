/**
 * Crash points (reliability F2): the daemon is killed at the n-th system call with an effect that its main thread makes in an
 * operation, for n = 1, 1 + step, ... until the operation ends first. Then it is started again, and nothing may be lost or left.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { settled, steadyCensus } from "../integration/census.ts";
import { type Bed, giveBack, makeBed } from "../integration/suite.ts";
import { alive } from "../integration/tasks.ts";
import {
  type CampaignOptions,
  checkAndClear,
  IGNORED,
  OPERATIONS,
  startKeepers,
  startVictim,
} from "./campaign.ts";

/** Which points. */
export interface PointOptions extends Omit<CampaignOptions, "rounds" | "seed"> {
  readonly operations: readonly string[];
  /** The first n. */
  readonly from: number;
  /** From one n to the next. */
  readonly step: number;
  /** Most points of one operation. */
  readonly most: number;
}

/** What was found. */
export interface PointResult {
  readonly faults: readonly string[];
  /** Points at which the daemon was killed, by operation. */
  readonly points: Readonly<Record<string, number>>;
}

/** System calls that change something outside the process: between two of them a crash is the same crash. */
const EFFECTS = [
  "write,pwrite64,writev,pwritev,sendto,sendmsg,sendfile,copy_file_range,splice",
  "openat,close,ftruncate,fallocate,fsync,fdatasync,syncfs",
  "mkdir,mkdirat,rmdir,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mknod,mknodat",
  "chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,setxattr,fsetxattr,lsetxattr,utimensat",
  "mount,umount2,move_mount,open_tree,mount_setattr,fsconfig,fsmount",
  "clone,clone3,fork,vfork,kill,pidfd_send_signal,bind,connect,listen,accept4,shutdown",
].join(",");

/** A tracer that kills the process at its n-th such call. Resolves when it traces. */
async function arm(pid: number, n: number): Promise<ChildProcess> {
  const inject = `inject=${EFFECTS}:signal=KILL:when=${n}`;
  const tracer = spawn("strace", ["-p", String(pid), "-e", `trace=${EFFECTS}`, "-e", inject], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  await new Promise<void>((resolve, reject) => {
    let said = "";
    tracer.once("error", reject);
    tracer.once("exit", () => reject(new Error(`strace ended: ${said}`)));
    tracer.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < 4096) said += text;
      if (said.includes("attached")) resolve();
    });
  });
  return tracer;
}

/** Runs it. @throws only when the daemon does not come back, or strace cannot trace */
export async function syscallKills(options: PointOptions): Promise<PointResult> {
  const bed = await makeBed("ours", "1.6");
  try {
    return await allPoints(bed, options);
  } finally {
    await giveBack(bed);
  }
}

async function allPoints(bed: Bed, options: PointOptions): Promise<PointResult> {
  const { ctr, engine } = bed;
  const faults: string[] = [];
  const points: Record<string, number> = {};
  const keepers = await startKeepers(bed, options.keepers);
  const base = await steadyCensus(engine);
  for (const name of options.operations) {
    for (let i = 0; i < options.most && options.signal?.aborted !== true; i++) {
      const n = options.from + i * options.step;
      const what = `${name}, call ${n}`;
      const fail = (why: string): void => {
        faults.push(`${what}: ${why}`);
        options.log(`FAULT ${what}: ${why}`);
      };
      const killed = await onePoint(bed, name, n);
      const ms = killed ? await engine.start() : 0;
      await checkAndClear(bed, keepers, fail);
      const left = await settled(engine, base, IGNORED);
      if (left !== "") fail(`\n${left}`);
      options.log(killed ? `${what}: ready after ${ms.toFixed(0)} ms` : `${what}: the operation ended first`);
      if (!killed) break;
      points[name] = (points[name] ?? 0) + 1;
    }
  }
  for (const { id } of keepers) {
    await ctr.ok("tasks", "rm", "-f", id);
    await ctr.ok("containers", "rm", id);
  }
  return { faults, points };
}

/** @returns false when the operation ended before that call */
async function onePoint(bed: Bed, name: string, n: number): Promise<boolean> {
  const { engine } = bed;
  const operation = OPERATIONS[name];
  if (operation === undefined)
    throw new Error(`operation "${name}": none of ${Object.keys(OPERATIONS).join(", ")}`);
  const { victim } = await startVictim(bed);
  const { pid } = engine;
  const tracer = await arm(pid, n);
  const over = new Promise<void>((resolve) => tracer.once("exit", () => resolve()));
  const ended = operation(bed, victim);
  // the tracer ends with the daemon
  const first = await Promise.race([over.then(() => "killed" as const), ended.then(() => "ended" as const)]);
  if (first === "ended" && tracer.exitCode === null) tracer.kill("SIGTERM");
  await over;
  // clients of a daemon that was killed end by themselves
  await ended;
  if (first === "ended" && alive(pid)) return false;
  await engine.end("SIGKILL");
  return true;
}
