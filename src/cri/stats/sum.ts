import type { Use } from "./usage.ts";

/** Several cgroups together. Pressure cannot be added: it is left out. */
export function sumUse(uses: readonly Use[]): Use {
  const cpus = uses.flatMap((use) => use.cpu ?? []);
  const memories = uses.flatMap((use) => use.memory ?? []);
  const threads = uses.flatMap((use) => use.threads ?? []);
  return {
    cpu:
      cpus.length === 0
        ? undefined
        : {
            totalNs: add(cpus, "totalNs"),
            userNs: add(cpus, "userNs"),
            systemNs: add(cpus, "systemNs"),
            periods: add(cpus, "periods"),
            throttledPeriods: add(cpus, "throttledPeriods"),
            throttledNs: add(cpus, "throttledNs"),
            pressure: undefined,
          },
    memory:
      memories.length === 0
        ? undefined
        : {
            usage: add(memories, "usage"),
            workingSet: add(memories, "workingSet"),
            available: undefined,
            rss: add(memories, "rss"),
            cache: add(memories, "cache"),
            mapped: add(memories, "mapped"),
            kernel: add(memories, "kernel"),
            peak: add(memories, "peak"),
            failcnt: add(memories, "failcnt"),
            pageFaults: add(memories, "pageFaults"),
            majorPageFaults: add(memories, "majorPageFaults"),
            swap: add(memories, "swap"),
            swapAvailable: undefined,
            oomKills: add(memories, "oomKills"),
            pressure: undefined,
          },
    threads: threads.length === 0 ? undefined : { current: add(threads, "current"), limit: 0n },
    io: uses.flatMap((use) => use.io),
    ioPressure: undefined,
    hugetlb: [],
  };
}

function add<K extends string>(all: readonly Readonly<Record<K, bigint>>[], key: K): bigint {
  return all.reduce((sum, each) => sum + each[key], 0n);
}
