/**
 * The short-containers campaign (reliability F10): many containers that end at once, a few at a time; each must give exactly its
 * exit code, one create, start, exit and delete event in this order, an out-of-memory event before the exit when it ran out of
 * memory and none when it did not. Everything over the API, so that the daemon and not the clients is what is busy.
 */
import { fromBinary } from "@bufbuild/protobuf";
import {
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskStartSchema,
} from "../../src/api/gen/containerd/events/task_pb.ts";
import { containersClient } from "../../src/client/containers.ts";
import { eventsClient } from "../../src/client/events.ts";
import { snapshotterClient } from "../../src/client/snapshots.ts";
import { tasksClient } from "../../src/client/tasks.ts";
import { Call, type NamespacedCall } from "../../src/core/call.ts";
import type { Container } from "../../src/core/containers/containers.ts";
import { messageOf } from "../../src/core/errors.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import { packSpec, unpackSpec } from "../../src/oci/spec/json.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Transport } from "../../src/rpc/types.ts";
import { settled, steadyCensus } from "../integration/census.ts";
import { until } from "../integration/client.ts";
import { type Bed, giveBack, makeBed } from "../integration/suite.ts";
import { random } from "./campaign.ts";

/** How many and how. */
export interface ShortOptions {
  readonly count: number;
  /** Of them, so many run out of memory. */
  readonly oom: number;
  /** At the same time. */
  readonly parallel: number;
  readonly seed: number;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** What it found. */
export interface ShortResult {
  readonly faults: readonly string[];
  readonly done: number;
  /** Of one container, from the snapshot to the removed record; milliseconds, sorted. */
  readonly times: readonly number[];
}

interface Told {
  readonly topic: string;
  readonly status: number | undefined;
}

const MEMORY = 24n << 20n;
const OOM_STATUS = 137;
const ORDER = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];

/** Runs it. */
export async function shortContainers(options: ShortOptions): Promise<ShortResult> {
  const bed = await makeBed("ours", "ours");
  try {
    return await run(bed, options);
  } finally {
    await giveBack(bed);
  }
}

async function run(bed: Bed, options: ShortOptions): Promise<ShortResult> {
  const { ctr, engine, image } = bed;
  const template = engine.id("template");
  await ctr.ok("containers", "create", image, template, "true");
  const before = await steadyCensus(engine);
  await using transport = createGrpcTransport({ path: engine.address });
  const stop = new AbortController();
  const call = new Call({ signal: stop.signal }).in(parseNamespace(engine.namespace));
  const model = await containersClient(transport).get(call, template);
  const { parent } = await snapshotterClient(transport, model.snapshotter).stat(call, model.snapshotKey);
  const events = watch(transport, call);
  await until("the subscription", async () => {
    await containersClient(transport).update(call, { ...model, labels: new Map([["seen", "1"]]) }, [
      "labels.seen",
    ]);
    return events.alive();
  });
  const faults: string[] = [];
  const times: number[] = [];
  const next = random(options.seed);
  // which ones run out of memory is spread over the whole
  const hungry = new Set<number>();
  while (hungry.size < Math.min(options.oom, options.count)) hungry.add(Math.floor(next() * options.count));
  let started = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const number = started++;
      if (number >= options.count || options.signal?.aborted === true) return;
      const id = engine.id("short");
      const began = performance.now();
      try {
        await one(transport, call, { model, parent, id, number, oom: hungry.has(number) }, events, faults);
      } catch (err) {
        faults.push(`${id}: ${messageOf(err)}`);
      }
      times.push(performance.now() - began);
      if (times.length % 500 === 0) options.log(`${times.length} containers, ${faults.length} faults`);
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, worker));
  const left = await settled(engine, before);
  if (left !== "") faults.push(`left over:\n${left}`);
  stop.abort();
  await ctr.ok("containers", "rm", template);
  for (const fault of faults) options.log(`FAULT ${fault}`);
  return { faults, done: times.length, times: times.sort((a, b) => a - b) };
}

async function one(
  transport: Transport,
  call: NamespacedCall,
  what: { model: Container; parent: string; id: string; number: number; oom: boolean },
  events: ReturnType<typeof watch>,
  faults: string[],
): Promise<void> {
  const { model, id, number, oom } = what;
  const snapshots = snapshotterClient(transport, model.snapshotter);
  const containers = containersClient(transport);
  const tasks = tasksClient(transport);
  const code = oom ? OOM_STATUS : number % 256;
  const spec = unpackSpec(model.spec);
  const shell = oom ? "exec tail /dev/zero" : `exit ${code}`;
  if (spec.process !== undefined) spec.process.args = ["sh", "-c", shell];
  if (spec.linux !== undefined) {
    spec.linux.cgroupsPath = `/${call.namespace}/${id}`;
    if (oom) spec.linux.resources = { ...spec.linux.resources, memory: { limit: MEMORY } };
  }
  const rootfs = await snapshots.prepare(call, id, what.parent, new Map([["containerd.io/gc.root", "now"]]));
  await containers.create(call, { ...model, id, spec: packSpec(spec), snapshotKey: id });
  const none = { stdin: "", stdout: "", stderr: "", terminal: false };
  await tasks.create(call, { containerId: id, rootfs, ...none });
  const ended = tasks.wait(call, id, "");
  await tasks.start(call, id, "");
  const { status } = await ended;
  const removed = await tasks.delete(call, id);
  if (status !== code || removed.status !== code)
    faults.push(`${id}: exit code ${code} was told as ${status} by wait and ${removed.status} by delete`);
  await containers.delete(call, id);
  await snapshots.remove(call, id);
  await until(`the last event of ${id}`, () => events.of(id).some((e) => e.topic === "/tasks/delete"));
  const told = events.of(id);
  const want = oom ? [...ORDER.slice(0, 2), "/tasks/oom", ...ORDER.slice(2)] : ORDER;
  const topics = told.map((e) => e.topic);
  if (topics.join(" ") !== want.join(" ")) faults.push(`${id}: events ${topics.join(" ")}`);
  for (const e of told)
    if (e.status !== undefined && e.status !== code)
      faults.push(`${id}: ${e.topic} tells ${e.status}, not ${code}`);
  events.forget(id);
}

/** Task events by container, as they come. */
function watch(transport: Transport, call: NamespacedCall) {
  const byId = new Map<string, Told[]>();
  let any = false;
  const read = async (): Promise<void> => {
    for await (const { topic, event, namespace } of eventsClient(transport).subscribe(call, [])) {
      any = true;
      const found = namespace === call.namespace ? decode(topic, event.value) : undefined;
      if (found === undefined) continue;
      byId.set(found.id, [...(byId.get(found.id) ?? []), { topic, status: found.status }]);
    }
  };
  read().catch((err: unknown) => {
    if (!call.signal.aborted) byId.set("", [{ topic: messageOf(err), status: undefined }]);
  });
  return {
    alive: () => any,
    of: (id: string): Told[] => byId.get(id) ?? [],
    forget: (id: string) => void byId.delete(id),
  };
}

function decode(topic: string, value: Uint8Array): { id: string; status: number | undefined } | undefined {
  switch (topic) {
    case "/tasks/create":
      return { id: fromBinary(TaskCreateSchema, value).containerId, status: undefined };
    case "/tasks/start":
      return { id: fromBinary(TaskStartSchema, value).containerId, status: undefined };
    case "/tasks/oom":
      return { id: fromBinary(TaskOOMSchema, value).containerId, status: undefined };
    case "/tasks/exit": {
      const e = fromBinary(TaskExitSchema, value);
      return { id: e.containerId, status: e.exitStatus };
    }
    case "/tasks/delete": {
      const e = fromBinary(TaskDeleteSchema, value);
      return { id: e.containerId, status: e.exitStatus };
    }
    default:
      return undefined;
  }
}
