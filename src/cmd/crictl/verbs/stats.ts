/** stats, statsp, metricsp, metricdescs. */
import { setTimeout as delay } from "node:timers/promises";
import {
  type ContainerStats,
  type CpuUsage,
  ListContainerStatsResponseSchema,
  ListMetricDescriptorsResponseSchema,
  ListPodSandboxMetricsResponseSchema,
  ListPodSandboxStatsResponseSchema,
  type PodSandboxStats,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { internal, invalidArgument, wrap } from "../../../core/errors.ts";
import { formatSizeSi } from "../../../lib/human.ts";
import { interrupted } from "../../shared/interrupt.ts";
import type { Action } from "../command.ts";
import { format, integer, labels, list, type Options, on, text } from "../options.ts";
import { LIST_FORMATS } from "../output/formats.ts";
import { renderTable, shortId } from "../output/table.ts";
import { writeMessage } from "../output/write.ts";

const WATCH_MS = 500;

/** Shows once, or again and again until interrupted. */
async function display(watch: boolean, show: () => Promise<void>): Promise<void> {
  try {
    do {
      await show();
      if (watch) await delay(WATCH_MS, undefined, { signal: interrupted() });
    } while (watch);
  } catch (err) {
    // ctrl-c is how watching ends
    if (!watch || !interrupted().aborted) throw err;
  }
}

function sampleMs(options: Options): number {
  const seconds = integer(options, "seconds", "--seconds") ?? 1;
  if (seconds < 0) throw invalidArgument("--seconds should not be negative");
  return seconds * 1_000;
}

/** A table in place of the last one when it is watched. */
function writeTable(rows: readonly (readonly string[])[], watch: boolean): void {
  const clear = watch && process.stdout.isTTY === true ? "\x1b[2J\x1b[H" : "";
  process.stdout.write(clear + renderTable(rows));
}

/** Percent of one CPU between two measurements; undefined when the engine measured only once. */
export function cpuPercent(before: CpuUsage | undefined, after: CpuUsage | undefined): number | undefined {
  const used = after?.usageCoreNanoSeconds?.value ?? 0n;
  if (used === 0n) return 0;
  const time = (after?.timestamp ?? 0n) - (before?.timestamp ?? 0n);
  if (time === 0n) return undefined;
  return (Number(used - (before?.usageCoreNanoSeconds?.value ?? 0n)) / Number(time)) * 100;
}

const notUpdated = (): Error =>
  internal("cpu stat is not updated during sample", { hint: "measure longer: --seconds 5" });

const byId = (a: ContainerStats | PodSandboxStats, b: ContainerStats | PodSandboxStats): number =>
  (a.attributes?.id ?? "") < (b.attributes?.id ?? "") ? -1 : 1;

const size = (value: { readonly value: bigint } | undefined): string => formatSizeSi(value?.value ?? 0n, 4);

export const stats: Action = async (context, args, options) => {
  await using cri = context;
  const out = format(options, LIST_FORMATS, "table");
  const [sample, watch] = [sampleMs(options), on(options, "watch")];
  const filter = {
    id: text(options, "id") || (args[0] ?? ""),
    podSandboxId: text(options, "pod"),
    labelSelector: labels(list(options, "label")),
  };
  const runtime = await cri.runtime();
  const measure = async (): Promise<ContainerStats[]> => {
    const answer = await runtime.listContainerStats({ filter }, cri.options()).catch((err: unknown) => {
      throw wrap(err, "get container stats");
    });
    return answer.stats.sort(byId);
  };
  await display(watch, async () => {
    const first = await measure();
    if (out !== "table") {
      const answer = { $typeName: "runtime.v1.ListContainerStatsResponse", stats: first } as const;
      return writeMessage(ListContainerStatsResponseSchema, answer, out);
    }
    const before = new Map(first.map((s) => [s.attributes?.id, s.cpu]));
    await delay(sample, undefined, { signal: interrupted() });
    const rows = [["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"]];
    for (const s of await measure()) {
      const id = s.attributes?.id ?? "";
      const running =
        (s.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n || (s.memory?.workingSetBytes?.value ?? 0n) > 0n;
      if ((!running && !on(options, "all")) || !before.has(id)) continue;
      const percent = cpuPercent(before.get(id), s.cpu);
      if (percent === undefined) throw notUpdated();
      rows.push([
        shortId(id),
        s.attributes?.metadata?.name ?? "",
        percent.toFixed(2),
        size(s.memory?.workingSetBytes),
        size(s.writableLayer?.usedBytes),
        String(s.writableLayer?.inodesUsed?.value ?? 0n),
        size(s.swap?.swapUsageBytes),
      ]);
    }
    writeTable(rows, watch);
  });
  return 0;
};

export const statsp: Action = async (context, args, options) => {
  await using cri = context;
  const out = format(options, LIST_FORMATS, "table");
  const [sample, watch] = [sampleMs(options), on(options, "watch")];
  const filter = {
    id: text(options, "id") || (args[0] ?? ""),
    labelSelector: labels(list(options, "label")),
  };
  const runtime = await cri.runtime();
  const measure = async (): Promise<PodSandboxStats[]> => {
    const answer = await runtime.listPodSandboxStats({ filter }, cri.options()).catch((err: unknown) => {
      throw wrap(err, "get pod stats: list pod sandbox stats");
    });
    return answer.stats.sort(byId);
  };
  await display(watch, async () => {
    const first = await measure();
    if (out !== "table") {
      const answer = { $typeName: "runtime.v1.ListPodSandboxStatsResponse", stats: first } as const;
      return writeMessage(ListPodSandboxStatsResponseSchema, answer, out);
    }
    const before = new Map(first.map((s) => [s.attributes?.id, s.linux?.cpu]));
    await delay(sample, undefined, { signal: interrupted() });
    const rows = [["POD", "POD ID", "CPU %", "MEM"]];
    for (const s of await measure()) {
      const id = s.attributes?.id ?? "";
      const { cpu, memory } = s.linux ?? {};
      const running =
        (cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n || (memory?.workingSetBytes?.value ?? 0n) > 0n;
      if (!running || !before.has(id)) continue;
      const percent = cpuPercent(before.get(id), cpu);
      if (percent === undefined) throw notUpdated();
      rows.push([
        s.attributes?.metadata?.name ?? "",
        shortId(id),
        percent.toFixed(2),
        size(memory?.workingSetBytes),
      ]);
    }
    writeTable(rows, watch);
  });
  return 0;
};

export const metricsp: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, ["json", "yaml"] as const, "json");
  const runtime = await cri.runtime();
  await display(on(options, "watch"), async () => {
    const answer = await runtime.listPodSandboxMetrics({}, cri.options()).catch((err: unknown) => {
      throw wrap(err, "get pod metrics: list pod sandbox metrics");
    });
    await writeMessage(ListPodSandboxMetricsResponseSchema, answer, out);
  });
  return 0;
};

export const metricdescs: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, ["json", "yaml"] as const, "json");
  const answer = await (await cri.runtime())
    .listMetricDescriptors({}, cri.options())
    .catch((err: unknown) => {
      throw wrap(err, "get metric descriptors: list metric descriptors");
    });
  await writeMessage(ListMetricDescriptorsResponseSchema, answer, out);
  return 0;
};
