/**
 * Clients that die half-way: `ctr` is killed at a random moment of a random operation, and connections of CRI callers break in
 * mid-call, several at a time, while the daemon lives. Afterwards, what a user can see is removed as a user would; nothing else may be
 * left: no process, mount, cgroup, namespace, address, file, row or open file of the daemon. Every random choice comes from the seed.
 */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { RuntimeService } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { settled, steadyCensus } from "../integration/census.ts";
import { until } from "../integration/client.ts";
import { CriBed } from "../integration/cri-bed.ts";
import { type Bed, giveBack, makeBed } from "../integration/suite.ts";
import { clearRound, random } from "./campaign.ts";

/** How long and how. */
export interface ClientKillOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly log: (line: string) => void;
}

/** Operations at a time. */
const AT_ONCE = 4;
/** Longest pause before the kill: about as long as the slowest operation. Milliseconds. */
const WINDOW_MS = 400;
/** What a client that died leaves in its own folders is its own. */
const IGNORED = ["fifos"];

type Words = (bed: Bed, victim: string) => readonly string[];

const OPERATIONS: readonly Words[] = [
  ({ engine, image }) => ["run", "--rm", image, engine.id("op"), "sh", "-c", "exit 3"],
  ({ engine, image }) => ["run", "-d", image, engine.id("op"), "sleep", "1000"],
  ({ engine }, victim) => ["tasks", "exec", "--exec-id", engine.id("e"), victim, "sleep", "0.2"],
  (_bed, victim) => ["tasks", "rm", "-f", victim],
  (_bed, victim) => ["containers", "rm", victim],
  ({ registry }) => ["images", "pull", "--plain-http", registry.ref("layers10")],
  ({ registry }) => ["images", "rm", "--sync", registry.ref("layers10")],
  ({ images }) => ["images", "import", images.archive("busybox")],
  ({ image, dir, engine }) => ["images", "export", `${dir}/${engine.id("out")}.tar`, image],
  (_bed, victim) => ["tasks", "attach", victim],
  () => ["events"],
];

/** Runs it against `ctr`. @returns one line per thing that was left */
export async function killClients({ rounds, seed, log }: ClientKillOptions): Promise<string[]> {
  const bed = await makeBed("ours", "ours");
  const next = random(seed);
  const faults: string[] = [];
  try {
    const { ctr, engine, image } = bed;
    const base = await steadyCensus(engine);
    for (let round = 1; round <= rounds; round++) {
      const names: string[] = [];
      const one = async (): Promise<void> => {
        const victim = engine.id("victim");
        await ctr.ok("run", "-d", image, victim, "sleep", "1000");
        const words = OPERATIONS[Math.floor(next() * OPERATIONS.length)]?.(bed, victim) ?? ["version"];
        const pause = next() * WINDOW_MS;
        const signal = next() < 0.7 ? "SIGKILL" : "SIGTERM";
        names.push(`${words.slice(0, 2).join(" ")} ${signal} after ${pause.toFixed(0)} ms`);
        const client = ctr.start(words);
        await delay(pause);
        client.kill(signal);
        // run and attach pass a signal on to the container, which need not end by it
        const hard = setTimeout(() => client.kill("SIGKILL"), 500);
        await client.done;
        clearTimeout(hard);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, one));
      const fail = (why: string): void => {
        faults.push(`round ${round} (${names.join("; ")}): ${why}`);
        log(`FAULT ${faults.at(-1)}`);
      };
      await clearRound(engine.client("1.6"), [], fail);
      const left = await settled(engine, base, IGNORED);
      if (left !== "") fail(`\n${left}`);
      log(`round ${round}: ${names.join("; ")}`);
    }
    return faults;
  } finally {
    await giveBack(bed);
  }
}

/** What the daemon has open, by kind. */
function openOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Runs it against CRI: the connection breaks in mid-call. @returns one line per thing that was left */
export async function breakCriCalls({ rounds, seed, log }: ClientKillOptions): Promise<string[]> {
  await using bed = await CriBed.start();
  const next = random(seed);
  const faults: string[] = [];
  const pid = daemonOf(bed);
  const warm = bed.pod("warm");
  const { podSandboxId: first } = await bed.runtime.runPodSandbox({ config: warm });
  await bed.runContainer(first, warm, bed.container("c", "sleep 1000"));
  await bed.removeAll();
  const counted = (): object => ({
    ...bed.census(),
    interfaces: 0,
    processes: bed.census().processes.filter((p) => !/helper|gantry-/.test(p)),
  });
  const base = JSON.stringify(counted());
  const open = openOf(pid);
  for (let round = 1; round <= rounds; round++) {
    const one = async (n: number): Promise<string> => {
      const transport = createGrpcTransport({ path: bed.address });
      const runtime = createClient(RuntimeService, transport);
      const pod = bed.pod(`p${round}-${n}`);
      const config = bed.container("c", "sleep 1000");
      let step = "run pod";
      const life = async (): Promise<void> => {
        const { podSandboxId } = await runtime.runPodSandbox({ config: pod });
        step = "create";
        const { containerId } = await runtime.createContainer({ podSandboxId, config, sandboxConfig: pod });
        step = "start";
        await runtime.startContainer({ containerId });
        step = "exec";
        await runtime.execSync({ containerId, cmd: ["sh", "-c", "sleep 0.1; echo x"], timeout: 5n });
        step = "stats";
        await runtime.listContainerStats({});
        step = "stop pod";
        await runtime.stopPodSandbox({ podSandboxId });
        step = "remove pod";
        await runtime.removePodSandbox({ podSandboxId });
        step = "end";
      };
      const running = life().catch(() => {});
      await delay(next() * 2 * WINDOW_MS);
      await transport.close();
      await running;
      return step;
    };
    const steps = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => one(n)));
    const what = `round ${round} (broken in ${steps.join(", ")})`;
    let now = "";
    // the making of a pod goes on for an identical retry: what becomes of it is removed as a kubelet would, until there is none
    await until(
      "what was before",
      async () => {
        await bed.removeAll().catch((err: unknown) => log(`${what}: remove: ${codeOf(err)}`));
        now = JSON.stringify(counted());
        return now === base;
      },
      60_000,
    ).catch(() => {
      faults.push(`${what}:\n was ${base}\n is  ${now}`);
      log(`FAULT ${faults.at(-1)}`);
    });
    log(`${what}: ${openOf(pid)} open files, ${memoryOf(pid)} kB`);
  }
  await until("the files that were open before, or nearly", () => openOf(pid) <= open + 8, 30_000).catch(() =>
    faults.push(`open files of the daemon: ${open} before, ${openOf(pid)} after`),
  );
  return faults;
}

function daemonOf(bed: CriBed): number {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8");
      if (words.includes(`${bed.dir}/config.toml`) && !words.startsWith("nsenter")) return Number(name);
    } catch {
      // it ended
    }
  }
  throw new Error("the daemon was not found");
}

function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}
