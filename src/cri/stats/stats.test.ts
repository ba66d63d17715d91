import assert from "node:assert/strict";
import { test } from "node:test";
import { UNLIMITED, type V1Stats, type V2Stats } from "../../platform/cgroups/stats.ts";
import { CpuRates } from "./cpu-rate.ts";
import { BASE_LABELS, DESCRIPTORS } from "./descriptors.ts";
import { mainInterface, parseNetDev } from "./network.ts";
import { sumUse } from "./sum.ts";
import { toUse } from "./usage.ts";

const v1: V1Stats = {
  version: 1,
  cpu: {
    totalNs: 100n,
    userNs: 60n,
    kernelNs: 40n,
    perCpuNs: [],
    periods: 5n,
    throttledPeriods: 2n,
    throttledNs: 7n,
  },
  memory: {
    usage: { usage: 1000n, max: 2000n, failcnt: 3n, limit: 4000n },
    swap: { usage: 1500n, max: 0n, failcnt: 0n, limit: 6000n },
    kernel: { usage: 11n, max: 0n, failcnt: 0n, limit: 0n },
    kernelTcp: undefined,
    stat: new Map([
      ["total_inactive_file", 300n],
      ["total_rss", 400n],
      ["total_pgfault", 9n],
    ]),
    oom: new Map([["oom_kill", 1n]]),
  },
  pids: { current: 4n, limit: 0n },
  blkio: {
    ioServiceBytesRecursive: [
      { major: 8, minor: 0, op: "Read", value: 10n },
      { major: 8, minor: 0, op: "Write", value: 20n },
      { major: 8, minor: 16, op: "Read", value: 5n },
    ],
    ioServicedRecursive: [{ major: 8, minor: 0, op: "Write", value: 2n }],
    ioQueuedRecursive: [],
    ioServiceTimeRecursive: [],
    ioWaitTimeRecursive: [],
    ioMergedRecursive: [],
    ioTimeRecursive: [],
    sectorsRecursive: [],
  },
  hugetlb: [],
  rdma: undefined,
};

const v2: V2Stats = {
  version: 2,
  cpu: new Map([
    ["usage_usec", 5n],
    ["user_usec", 3n],
    ["nr_throttled", 1n],
    ["throttled_usec", 2n],
  ]),
  cpuPressure: { some: { avg10: 1.5, avg60: 0, avg300: 0, total: 77n }, full: undefined },
  memory: {
    usage: 500n,
    limit: UNLIMITED,
    peak: 600n,
    swapUsage: 10n,
    swapLimit: 100n,
    stat: new Map([
      ["anon", 200n],
      ["inactive_file", 600n],
      ["kernel", 30n],
      ["pgmajfault", 8n],
    ]),
    events: new Map([
      ["max", 4n],
      ["oom_kill", 2n],
    ]),
    pressure: undefined,
  },
  pids: { current: 2n, limit: UNLIMITED },
  io: undefined,
  ioPressure: undefined,
  hugetlb: [],
  rdma: undefined,
};

test("numbers of cgroup v1", () => {
  const { cpu, memory, io, threads } = toUse(v1);
  assert.deepEqual([cpu?.totalNs, cpu?.systemNs, cpu?.throttledPeriods], [100n, 40n, 2n]);
  assert.deepEqual(
    [memory?.workingSet, memory?.available, memory?.rss, memory?.swap, memory?.swapAvailable],
    // v1 counts memory and swap together
    [700n, 3300n, 400n, 500n, 1500n],
  );
  assert.deepEqual([memory?.peak, memory?.failcnt, memory?.kernel, memory?.oomKills], [2000n, 3n, 11n, 1n]);
  assert.deepEqual(io, [
    { major: 8, minor: 0, readBytes: 10n, writeBytes: 20n, readOps: 0n, writeOps: 2n },
    { major: 8, minor: 16, readBytes: 5n, writeBytes: 0n, readOps: 0n, writeOps: 0n },
  ]);
  assert.deepEqual(threads, { current: 4n, limit: 0n });
});

test("numbers of cgroup v2: microseconds become nanoseconds, no limit is none", () => {
  const { cpu, memory, threads } = toUse(v2);
  assert.deepEqual([cpu?.totalNs, cpu?.userNs, cpu?.throttledNs], [5000n, 3000n, 2000n]);
  assert.equal(cpu?.pressure?.some?.total, 77n);
  // more inactive than there is: never below zero
  assert.deepEqual([memory?.workingSet, memory?.available], [0n, undefined]);
  assert.deepEqual([memory?.rss, memory?.swap, memory?.swapAvailable], [200n, 10n, 90n]);
  assert.deepEqual(
    [memory?.failcnt, memory?.oomKills, memory?.kernel, memory?.majorPageFaults],
    [4n, 2n, 30n, 8n],
  );
  assert.deepEqual(threads, { current: 2n, limit: 0n });
});

test("huge pages: v1 knows the most ever in use, v2 only its limit", () => {
  const pages = [{ pageSize: "2MB", usage: 4n, max: UNLIMITED, failcnt: 0n }];
  assert.deepEqual(
    toUse({ ...v1, hugetlb: pages.map((each) => ({ ...each, max: 9n })) }).hugetlb[0]?.peak,
    9n,
  );
  assert.deepEqual(toUse({ ...v2, hugetlb: pages }).hugetlb, [
    { pageSize: "2MB", usage: 4n, peak: undefined },
  ]);
});

test("missing controllers are missing, not zero", () => {
  const nothing = toUse({ ...v2, cpu: undefined, memory: undefined, pids: undefined });
  assert.deepEqual(
    [nothing.cpu, nothing.memory, nothing.threads, nothing.io],
    [undefined, undefined, undefined, []],
  );
});

test("several cgroups add up", () => {
  const sum = sumUse([toUse(v1), toUse(v2)]);
  assert.deepEqual([sum.cpu?.totalNs, sum.memory?.usage, sum.memory?.oomKills], [5100n, 1500n, 3n]);
  assert.equal(sum.threads?.current, 6n);
});

test("processor use as a rate", () => {
  const rates = new CpuRates();
  const second = 1_000_000_000n;
  assert.equal(rates.sample("a", 0n, 0n), undefined);
  assert.equal(rates.sample("a", second / 2n, second), 500_000_000n);
  // too close: the last rate stands
  assert.equal(rates.sample("a", second, second + 1n), 500_000_000n);
  assert.equal(rates.sample("a", second * 2n, second * 2n), 1_500_000_000n);
  // less than before: another process
  assert.equal(rates.sample("a", 5n, second * 3n), undefined);
  rates.keep(new Set());
  assert.equal(rates.rate("a"), undefined);
});

test("interfaces of /proc/PID/net/dev", () => {
  const all = parseNetDev(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     840      10    0    0    0     0          0         0      840      10    0    0    0     0       0          0
  net1:       7       6    5    4    0     0          0         0        3       2    1    0    0     0       0          0
  eth0: 18446744073709551615 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
 short: 1 2
`);
  assert.deepEqual(
    all.map(({ name }) => name),
    ["net1", "eth0"],
  );
  assert.deepEqual(mainInterface(all), {
    name: "eth0",
    rxBytes: 18446744073709551615n,
    rxPackets: 2n,
    rxErrors: 3n,
    rxDropped: 4n,
    txBytes: 5n,
    txPackets: 6n,
    txErrors: 7n,
    txDropped: 8n,
  });
  assert.equal(mainInterface([]), undefined);
});

test("metrics have names, texts and labels of their own", () => {
  const names = DESCRIPTORS.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.ok(names.length >= 49);
  for (const { name, help, labels } of DESCRIPTORS) {
    assert.match(name, /^container_[a-z_]+$/);
    assert.notEqual(help, "");
    for (const label of labels) assert.ok(!(BASE_LABELS as readonly string[]).includes(label));
  }
});
