import { readdirSync, readFileSync } from "node:fs";
import { isErrno } from "../syscalls/errors.ts";
import { type BlkioEntry, type HugetlbStats, type RdmaEntry, type RdmaStats, UNLIMITED } from "./stats.ts";

// ENODEV: the cgroup was removed while its file was open. EOPNOTSUPP: the kernel has the file but not the numbers.
const GONE = ["ENOENT", "ENODEV", "EOPNOTSUPP", "ENOTSUP", "EINVAL"];

/** Text of a cgroup file; undefined when it does not exist (no controller, or the cgroup is gone). */
export function readText(dir: string, file: string): string | undefined {
  try {
    return readFileSync(`${dir}/${file}`, "utf8");
  } catch (error) {
    if (isErrno(error, ...GONE)) return undefined;
    throw error;
  }
}

/** A file of one number; "max" is {@link UNLIMITED}. */
export function readNumber(dir: string, file: string): bigint | undefined {
  const text = readText(dir, file)?.trim();
  return text === undefined ? undefined : parseNumber(text);
}

/** A number or "max"; anything else is 0. */
export function parseNumber(text: string): bigint {
  if (text === "max") return UNLIMITED;
  return /^\d+$/.test(text) ? BigInt(text) : 0n;
}

/** A file of lines "key value". */
export function readMap(dir: string, file: string): Map<string, bigint> | undefined {
  const text = readText(dir, file);
  if (text === undefined) return undefined;
  const values = new Map<string, bigint>();
  for (const line of text.split("\n")) {
    const [key, value] = line.split(" ");
    if (key !== undefined && value !== undefined) values.set(key, parseNumber(value));
  }
  return values;
}

/** A blkio file: lines "8:0 Read 4096" or "8:0 4096"; the closing "Total" line is left out. */
export function readBlkio(dir: string, file: string): BlkioEntry[] {
  const entries: BlkioEntry[] = [];
  for (const line of (readText(dir, file) ?? "").split("\n")) {
    const match = /^(\d+):(\d+)\s+(?:([A-Za-z]+)\s+)?(\d+)$/.exec(line);
    if (match === null) continue;
    entries.push({
      major: Number(match[1]),
      minor: Number(match[2]),
      op: match[3] ?? "",
      value: BigInt(match[4] ?? "0"),
    });
  }
  return entries;
}

/** Huge page sizes that have files in `dir`, from names "hugetlb.2MB.<suffix>". */
export function readHugetlb(
  dir: string,
  usage: string,
  max: string,
  failcnt: string | undefined,
): HugetlbStats[] {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    if (isErrno(error, ...GONE)) return [];
    throw error;
  }
  const all: HugetlbStats[] = [];
  for (const name of names) {
    const pageSize = /^hugetlb\.(\d+[KMGT]?B)\.(.+)$/.exec(name);
    if (pageSize === null || pageSize[2] !== usage) continue;
    const prefix = `hugetlb.${pageSize[1]}`;
    all.push({
      pageSize: pageSize[1] ?? "",
      usage: readNumber(dir, `${prefix}.${usage}`) ?? 0n,
      max: readNumber(dir, `${prefix}.${max}`) ?? 0n,
      failcnt:
        failcnt === undefined
          ? (readMap(dir, `${prefix}.events`)?.get("max") ?? 0n)
          : (readNumber(dir, `${prefix}.${failcnt}`) ?? 0n),
    });
  }
  return all;
}

/** rdma.current and rdma.max; undefined without that controller. */
export function readRdma(dir: string): RdmaStats | undefined {
  const current = readText(dir, "rdma.current");
  if (current === undefined) return undefined;
  return { current: parseRdma(current), limit: parseRdma(readText(dir, "rdma.max") ?? "") };
}

function parseRdma(text: string): RdmaEntry[] {
  const entries: RdmaEntry[] = [];
  for (const line of text.split("\n")) {
    const match = /^(\S+) hca_handle=(\S+) hca_object=(\S+)$/.exec(line);
    if (match === null) continue;
    const count = (word: string | undefined): number => (word === "max" ? 0xffffffff : Number(word));
    entries.push({ device: match[1] ?? "", hcaHandles: count(match[2]), hcaObjects: count(match[3]) });
  }
  return entries;
}

/** Pids in one cgroup directory. */
export function readProcs(dir: string): number[] {
  return (readText(dir, "cgroup.procs") ?? "").split("\n").filter(Boolean).map(Number);
}

/** `dir` and every cgroup below it, deepest first. */
export function subtree(dir: string): string[] {
  const all: string[] = [];
  const visit = (at: string): void => {
    let entries: { name: string; isDirectory(): boolean }[];
    try {
      entries = readdirSync(at, { withFileTypes: true });
    } catch (error) {
      if (isErrno(error, ...GONE)) return;
      throw error;
    }
    for (const entry of entries) if (entry.isDirectory()) visit(`${at}/${entry.name}`);
    all.push(at);
  };
  visit(dir);
  return all;
}
