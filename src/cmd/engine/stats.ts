/** stats: what containers use, live. */
import { setTimeout as delay } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { MetricsSchema as V1 } from "../../api/gen/containerd/cgroups/v1/metrics_pb.ts";
import { MetricsSchema as V2 } from "../../api/gen/containerd/cgroups/v2/metrics_pb.ts";
import { containersClient } from "../../client/containers.ts";
import { tasksClient } from "../../client/tasks.ts";
import { isCanceled } from "../../core/errors.ts";
import { formatSize } from "../../lib/human.ts";
import type { Action } from "../ctr/command.ts";
import { renderTable } from "../ctr/table.ts";
import { interruptStatus } from "../shared/interrupt.ts";
import { findContainer, nameOf, SHORT } from "./lookup.ts";
import { formatOf, writeStructured } from "./output.ts";

interface Use {
  readonly cpuNs: bigint;
  readonly memory: bigint;
  readonly limit: bigint;
  readonly pids: bigint;
}

export const stats: Action = async (context, args, options) => {
  try {
    return await show(context, args, options);
  } catch (err) {
    // Ctrl-C is how a live view ends
    if (process.stdout.isTTY === true && interruptStatus() !== undefined && isCanceled(err)) return 0;
    throw err;
  }
};

const show: Action = async (context, args, options) => {
  const format = formatOf(options);
  await using transport = context.connect();
  const call = context.call();
  const containers = containersClient(transport);
  const tasks = tasksClient(transport);
  const wanted = new Set<string>();
  for (const arg of args) wanted.add((await findContainer(containers, call, arg)).id);
  const read = async (): Promise<Map<string, { at: bigint; use: Use }>> =>
    new Map(
      (await tasks.metrics(call, []))
        .filter((m) => wanted.size === 0 || wanted.has(m.id))
        .map((m) => [m.id, { at: m.timestamp, use: useOf(m.data) }] as const),
    );
  const live = options["noStream"] !== true && format === "table" && process.stdout.isTTY === true;
  let before = await read();
  do {
    await delay(1000, undefined, { signal: call.signal });
    const [now, all, states] = await Promise.all([read(), containers.list(call, []), tasks.list(call)]);
    const ended = new Set(states.filter((t) => t.status === "stopped").map((t) => t.containerId));
    const rows = all.flatMap((c) => {
      const current = now.get(c.id);
      const old = before.get(c.id);
      if (current === undefined || ended.has(c.id)) return [];
      const elapsed = old === undefined ? 0n : current.at - old.at;
      const cores =
        old === undefined || elapsed <= 0n ? 0 : Number(current.use.cpuNs - old.use.cpuNs) / Number(elapsed);
      return [{ c, cores, use: current.use }];
    });
    if (format === "table") {
      const text = renderTable(
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "PIDS"],
        rows.map(({ c, cores, use }) => [
          c.id.slice(0, SHORT),
          nameOf(c),
          `${(cores * 100).toFixed(2)}%`,
          `${formatSize(use.memory)} / ${use.limit > 1n << 50n || use.limit === 0n ? "none" : formatSize(use.limit)}`,
          String(use.pids),
        ]),
        3,
      ).replace(/ +$/gm, "");
      process.stdout.write(live ? `\x1b[H\x1b[2J${text}` : text);
    } else
      await writeStructured(
        rows.map(({ c, cores, use }) => ({
          id: c.id,
          name: nameOf(c),
          cpuPercent: Math.round(cores * 10_000) / 100,
          memoryBytes: Number(use.memory),
          pids: Number(use.pids),
        })),
        format,
      );
    before = now;
  } while (live);
  return 0;
};

function useOf(data: { typeUrl: string; value: Uint8Array } | undefined): Use {
  const none = { cpuNs: 0n, memory: 0n, limit: 0n, pids: 0n };
  if (data?.typeUrl.endsWith("cgroups.v1.Metrics") === true) {
    const m = fromBinary(V1, data.value);
    return {
      cpuNs: m.cpu?.usage?.total ?? 0n,
      memory: m.memory?.usage?.usage ?? 0n,
      limit: m.memory?.usage?.limit ?? 0n,
      pids: m.pids?.current ?? 0n,
    };
  }
  if (data?.typeUrl.endsWith("cgroups.v2.Metrics") === true) {
    const m = fromBinary(V2, data.value);
    return {
      cpuNs: (m.cpu?.usageUsec ?? 0n) * 1000n,
      memory: m.memory?.usage ?? 0n,
      limit: m.memory?.usageLimit ?? 0n,
      pids: m.pids?.current ?? 0n,
    };
  }
  return none;
}
