/** P7: pods over the CRI socket with a real CNI bridge; the memory of engine and shims with all of them running. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { RuntimeService } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { builtinArchive } from "../../src/oci/builtin/images.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { BUSYBOX, type CriPeer, startCri } from "../peers/cri-peer.ts";
import { peerBin } from "../peers/peer.ts";
import type { Bench, Engine } from "./engine.ts";
import { interleave, memory, type Row, timed } from "./measure.ts";

/** A pod may take long where fifty start at once. */
const CALL = { timeoutMs: 300_000 };
const MOST = 50;

interface Cri {
  readonly peer: CriPeer;
  readonly runtime: ReturnType<typeof runtimeOf>;
  readonly bin: string;
}

const runtimeOf = (peer: CriPeer) =>
  createClient(RuntimeService, createGrpcTransport({ path: peer.address }));

async function start(engine: Engine): Promise<Cri> {
  const peer = await startCri({
    program: join(engine.bin, "containerd"),
    args: [],
    path: engine.bin,
    ctr: join(peerBin("1.6"), "ctr"),
    pause: await builtinArchive("pause"),
  });
  return { peer, runtime: runtimeOf(peer), bin: engine.bin };
}

/** RunPodSandbox, CreateContainer, StartContainer. @returns the pod's id */
async function startPod({ peer, runtime }: Cri, name: string): Promise<string> {
  const config = {
    metadata: { name, uid: name, namespace: "bench", attempt: 0 },
    logDirectory: join(peer.dir, "logs", name),
    linux: { cgroupParent: `/gantry-bench-${peer.tag}` },
  };
  const { podSandboxId } = await runtime.runPodSandbox({ config }, CALL);
  const { containerId } = await runtime.createContainer(
    {
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: "main", attempt: 0 },
        image: { image: BUSYBOX },
        command: ["sleep", "1000"],
        logPath: "main.log",
        linux: {},
      },
    },
    CALL,
  );
  await runtime.startContainer({ containerId }, CALL);
  return podSandboxId;
}

async function removePods({ runtime }: Cri, ids: readonly string[]): Promise<void> {
  await Promise.all(
    ids.map(async (podSandboxId) => {
      await runtime.stopPodSandbox({ podSandboxId }, CALL);
      await runtime.removePodSandbox({ podSandboxId }, CALL);
    }),
  );
}

let made = 0;

async function startPods(cri: Cri, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, () => startPod(cri, `pod${made++}`)));
}

/** Daemon and shims: the processes whose executable is of the engine and that see its mounts or name its socket. */
function processesOf({ peer, bin }: Cri): number[] {
  const programs = new Set(["containerd", "containerd-shim-runc-v2"].map((name) => real(join(bin, name))));
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        if (!programs.has(readlinkSync(`/proc/${pid}/exe`))) return false;
        return pid === peer.pid || readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(peer.address);
      } catch {
        return false;
      }
    });
}

function real(path: string): string {
  try {
    return join(path, "..", readlinkSync(path));
  } catch {
    return path;
  }
}

/** Longer than shims of ours are quiet before they sleep. */
const REST_MS = 13_000;
const NOTHING = { pss: Number.NaN, dirty: Number.NaN };

/** All of P7. */
export async function pods(bench: Bench): Promise<Row[]> {
  const ours = await start(bench.ours);
  try {
    const reference = await start(bench.reference);
    try {
      const rows: Row[] = [];
      for (const count of [1, 10, MOST]) {
        const once = (cri: Cri) => async () => {
          let ids: string[] = [];
          const took = await timed(async () => {
            ids = await startPods(cri, count);
          });
          await removePods(cri, ids);
          return took;
        };
        const found = await interleave(count === MOST ? 1 : bench.few, {
          ours: once(ours),
          reference: once(reference),
        });
        rows.push({ id: "P7", what: `start of ${count} pods at once`, unit: "ms", ...found, goal: 0.6 });
      }
      const held = async (cri: Cri): Promise<{ pss: number; dirty: number }[]> => {
        const ids = await startPods(cri, MOST);
        await delay(3_000);
        const awake = memory(processesOf(cri));
        await delay(REST_MS);
        const found = [awake, memory(processesOf(cri))];
        await removePods(cri, ids);
        return found;
      };
      const [all, theirs] = [await held(ours), await held(reference)];
      for (const [index, when] of ["just started", "at rest"].entries()) {
        const [a, b] = [all[index] ?? NOTHING, theirs[index] ?? NOTHING];
        const facts = { id: "P7", unit: "MB", goal: 1 } as const;
        const what = `engine and shims with ${MOST} pods, ${when}`;
        rows.push({ ...facts, what: `${what}: PSS`, ours: [a.pss], reference: [b.pss] });
        rows.push({ ...facts, what: `${what}: private dirty`, ours: [a.dirty], reference: [b.dirty] });
      }
      return rows;
    } finally {
      await reference.peer.stop();
    }
  } finally {
    await ours.peer.stop();
  }
}
