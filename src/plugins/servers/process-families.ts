/** The daemon's own process, under the names Prometheus' libraries give these figures. */
import { readdirSync, readFileSync } from "node:fs";
import type { MetricFamily } from "../../core/metrics/metrics.ts";

/** What cannot be read is left out. */
export function processFamilies(): MetricFamily[] {
  const cpu = process.cpuUsage();
  const out: MetricFamily[] = [];
  const add = (type: "counter" | "gauge", name: string, help: string, value: number | undefined): void => {
    if (value !== undefined)
      out.push({ name: `process_${name}`, type, help, samples: [{ labels: {}, value }] });
  };
  const seconds = (cpu.user + cpu.system) / 1e6;
  add("counter", "cpu_seconds_total", "Total user and system CPU time spent in seconds.", seconds);
  const limits = read("/proc/self/limits");
  add("gauge", "max_fds", "Maximum number of open file descriptors.", limitOf(limits, "Max open files"));
  const network = octets(read("/proc/self/net/netstat"));
  add(
    "counter",
    "network_receive_bytes_total",
    "Number of bytes received by the process over the network.",
    network?.received,
  );
  add(
    "counter",
    "network_transmit_bytes_total",
    "Number of bytes sent by the process over the network.",
    network?.sent,
  );
  add("gauge", "open_fds", "Number of open file descriptors.", openFiles());
  add("gauge", "resident_memory_bytes", "Resident memory size in bytes.", process.memoryUsage.rss());
  const started = Math.round(Date.now() / 1000 - process.uptime());
  add("gauge", "start_time_seconds", "Start time of the process since unix epoch in seconds.", started);
  add("gauge", "virtual_memory_bytes", "Virtual memory size in bytes.", virtualSize(read("/proc/self/stat")));
  add(
    "gauge",
    "virtual_memory_max_bytes",
    "Maximum amount of virtual memory available in bytes.",
    limitOf(limits, "Max address space"),
  );
  return out;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function openFiles(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return undefined;
  }
}

/** The soft limit; "unlimited" is what the kernel's number for it is. */
function limitOf(limits: string, name: string): number | undefined {
  const value = new RegExp(`^${name} +(\\S+)`, "m").exec(limits)?.[1];
  if (value === undefined) return undefined;
  return value === "unlimited" ? 2 ** 64 : Number(value);
}

function virtualSize(stat: string): number | undefined {
  const value = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[20];
  return value === undefined ? undefined : Number(value);
}

/** Bytes of all IP traffic of the network namespace. */
function octets(netstat: string): { received: number; sent: number } | undefined {
  const [names, values] = netstat
    .split("\n")
    .filter((line) => line.startsWith("IpExt:"))
    .map((line) => line.split(" "));
  const value = (name: string): number => Number(values?.[names?.indexOf(name) ?? -1]);
  const [received, sent] = [value("InOctets"), value("OutOctets")];
  return Number.isNaN(received) || Number.isNaN(sent) ? undefined : { received, sent };
}
