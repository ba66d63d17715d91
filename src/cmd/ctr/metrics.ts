/** Metrics of cgroup v1 and v2 as rows for people. */
import { fromBinary } from "@bufbuild/protobuf";
import { MetricsSchema as V1 } from "../../api/gen/containerd/cgroups/v1/metrics_pb.ts";
import { MetricsSchema as V2 } from "../../api/gen/containerd/cgroups/v2/metrics_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import { goJson } from "./go-json.ts";

/** Rows named as containerd's ctr names them, and everything as JSON. @throws invalid-argument for another type */
export function metricRows(data: AnyValue): { table: string[][]; json: string } {
  const row = (name: string, value: bigint | number | undefined): string[][] =>
    value === undefined ? [] : [[name, String(value)]];
  if (data.typeUrl.endsWith("io.containerd.cgroups.v1.Metrics")) {
    const m = fromBinary(V1, data.value);
    return {
      json: goJson(V1, m),
      table: [
        ...row("memory.usage_in_bytes", m.memory?.usage?.usage),
        ...row("memory.limit_in_bytes", m.memory?.usage?.limit),
        ...row("memory.stat.cache", m.memory?.cache),
        ...row("cpuacct.usage", m.cpu?.usage?.total),
        ...(m.cpu?.usage === undefined
          ? []
          : [["cpuacct.usage_percpu", `[${m.cpu.usage.perCpu.join(" ")}]`]]),
        ...row("pids.current", m.pids?.current),
        ...row("pids.limit", m.pids?.limit),
      ],
    };
  }
  if (data.typeUrl.endsWith("io.containerd.cgroups.v2.Metrics")) {
    const m = fromBinary(V2, data.value);
    return {
      json: goJson(V2, m),
      table: [
        ...row("pids.current", m.pids?.current),
        ...row("pids.limit", m.pids?.limit),
        ...row("cpu.usage_usec", m.cpu?.usageUsec),
        ...row("cpu.user_usec", m.cpu?.userUsec),
        ...row("cpu.system_usec", m.cpu?.systemUsec),
        ...row("cpu.nr_periods", m.cpu?.nrPeriods),
        ...row("cpu.nr_throttled", m.cpu?.nrThrottled),
        ...row("cpu.throttled_usec", m.cpu?.throttledUsec),
        ...row("memory.usage", m.memory?.usage),
        ...row("memory.usage_limit", m.memory?.usageLimit),
        ...row("memory.anon", m.memory?.anon),
        ...row("memory.file", m.memory?.file),
        ...row("memory.pgfault", m.memory?.pgfault),
        ...row("memory.pgmajfault", m.memory?.pgmajfault),
      ],
    };
  }
  throw invalidArgument(`metrics of type "${data.typeUrl}": not a cgroup metric this client knows`);
}
