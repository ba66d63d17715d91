import { dirname } from "node:path";
import { parseNumber, readHugetlb, readMap, readNumber, readRdma, readText } from "./read.ts";
import {
  type IoEntry,
  type Pressure,
  type PressureLine,
  UNLIMITED,
  type V2Memory,
  type V2Stats,
} from "./stats.ts";

/** Reads every controller that the unified cgroup `dir` has. */
export function readV2(dir: string, brief = false): V2Stats {
  return {
    version: 2,
    cpu: readMap(dir, "cpu.stat"),
    cpuPressure: readPressure(dir, "cpu.pressure"),
    memory: readMemory(dir),
    pids: readPids(dir),
    io: brief ? undefined : readIo(dir),
    ioPressure: readPressure(dir, "io.pressure"),
    hugetlb: brief ? [] : readHugetlb(dir, "current", "max", undefined),
    rdma: brief ? undefined : readRdma(dir),
  };
}

/** How often the kernel killed for memory in this subtree; undefined when it does not say. */
function readOomKills(dir: string): bigint | undefined {
  return readMap(dir, "memory.events")?.get("oom_kill");
}

/**
 * The count of one cgroup, also once it is removed: systemd removes a scope the moment its last process is gone, often before
 * anybody could read what ended it. Its parent counts for all below, and goes on to.
 */
export class OomCountV2 {
  readonly #dir: string;
  #last = 0n;
  /** The parent's count without ours, when both were last read. */
  #others: bigint | undefined;

  constructor(dir: string) {
    this.#dir = dir;
    this.now();
  }

  /** 0 when unknown, or removed. */
  now(): bigint {
    const own = readOomKills(this.#dir);
    if (own === undefined) return 0n;
    this.#last = own;
    const above = readOomKills(dirname(this.#dir));
    this.#others = above === undefined ? undefined : above - own;
    return own;
  }

  /**
   * What it must have been in the end. Kills of the parent's other children since the last {@link now} count as ours: ask only of
   * a cgroup whose process was killed by nobody that is known.
   */
  atLast(): bigint {
    const own = this.now();
    if (own > 0n || readOomKills(this.#dir) !== undefined) return own;
    const above = this.#others === undefined ? undefined : readOomKills(dirname(this.#dir));
    if (above === undefined || this.#others === undefined) return this.#last;
    const found = above - this.#others;
    return found > this.#last ? found : this.#last;
  }
}

/** Processor time used, nanoseconds. */
export function cpuNsV2(dir: string): bigint | undefined {
  const usec = readMap(dir, "cpu.stat")?.get("usage_usec");
  return usec === undefined ? undefined : usec * 1000n;
}

function readMemory(dir: string): V2Memory | undefined {
  const stat = readMap(dir, "memory.stat");
  if (stat === undefined) return undefined;
  // The root cgroup has no memory.current: what is in use there is what the parts add up to.
  const usage = readNumber(dir, "memory.current") ?? (stat.get("anon") ?? 0n) + (stat.get("file") ?? 0n);
  return {
    usage,
    limit: readNumber(dir, "memory.max") ?? UNLIMITED,
    peak: readNumber(dir, "memory.peak"),
    swapUsage: readNumber(dir, "memory.swap.current") ?? 0n,
    swapLimit: readNumber(dir, "memory.swap.max") ?? UNLIMITED,
    stat,
    events: readMap(dir, "memory.events") ?? new Map(),
    pressure: readPressure(dir, "memory.pressure"),
  };
}

function readPids(dir: string): V2Stats["pids"] {
  const current = readNumber(dir, "pids.current");
  return current === undefined ? undefined : { current, limit: readNumber(dir, "pids.max") ?? UNLIMITED };
}

function readIo(dir: string): IoEntry[] | undefined {
  const text = readText(dir, "io.stat");
  if (text === undefined) return undefined;
  const entries: IoEntry[] = [];
  for (const line of text.split("\n")) {
    const [device, ...pairs] = line.split(" ");
    const match = /^(\d+):(\d+)$/.exec(device ?? "");
    if (match === null) continue;
    const values = new Map<string, bigint>();
    for (const pair of pairs) {
      const [key = "", value = ""] = pair.split("=");
      values.set(key, parseNumber(value));
    }
    entries.push({
      major: Number(match[1]),
      minor: Number(match[2]),
      readBytes: values.get("rbytes") ?? 0n,
      writeBytes: values.get("wbytes") ?? 0n,
      readOps: values.get("rios") ?? 0n,
      writeOps: values.get("wios") ?? 0n,
    });
  }
  return entries;
}

function readPressure(dir: string, file: string): Pressure | undefined {
  const text = readText(dir, file);
  if (text === undefined) return undefined;
  const line = (name: string): PressureLine | undefined => {
    const match = new RegExp(`^${name} avg10=(\\S+) avg60=(\\S+) avg300=(\\S+) total=(\\d+)`, "m").exec(text);
    if (match === null) return undefined;
    return {
      avg10: Number(match[1]),
      avg60: Number(match[2]),
      avg300: Number(match[3]),
      total: BigInt(match[4] ?? "0"),
    };
  };
  return { some: line("some"), full: line("full") };
}
