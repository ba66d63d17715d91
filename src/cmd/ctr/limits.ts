/** Resource flags. */
import { invalidArgument } from "../../core/errors.ts";
import { parseSize } from "../../lib/human.ts";
import { processOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { textOf } from "./context.ts";

/** Applies --memory-limit, --cpus, --cpu-*, --cpuset-*, --rlimit-nofile. @throws invalid-argument naming the flag */
export function applyLimits(spec: Spec, options: Readonly<Record<string, unknown>>): void {
  const memory = textOf(options, "memoryLimit");
  if (memory !== "") resourcesOf(spec).memory = { limit: size("--memory-limit", memory) };
  const cpu: NonNullable<ReturnType<typeof resourcesOf>["cpu"]> = {};
  const cpus = textOf(options, "cpus");
  const quota = whole("--cpu-quota", textOf(options, "cpuQuota"));
  const period = whole("--cpu-period", textOf(options, "cpuPeriod"));
  if (cpus !== "") {
    const value = Number(cpus);
    if (!(value > 0)) throw invalidArgument(`flag --cpus "${cpus}": must be a positive number`);
    if (quota !== undefined && quota !== -1)
      throw invalidArgument("flags --cpus and --cpu-quota: only one may be set");
    cpu.quota = Math.round(value * 100_000);
    cpu.period = 100_000;
  }
  if (quota !== undefined && quota !== -1) cpu.quota = quota;
  if (period !== undefined && period !== 0) cpu.period = period;
  const shares = whole("--cpu-shares", textOf(options, "cpuShares"));
  if (shares !== undefined && shares !== 1024) cpu.shares = shares;
  if (textOf(options, "cpusetCpus") !== "") cpu.cpus = textOf(options, "cpusetCpus");
  if (textOf(options, "cpusetMems") !== "") cpu.mems = textOf(options, "cpusetMems");
  if (Object.keys(cpu).length > 0) resourcesOf(spec).cpu = cpu;
  const files = whole("--rlimit-nofile", textOf(options, "rlimitNofile"));
  if (files !== undefined) processOf(spec).rlimits = [{ type: "RLIMIT_NOFILE", hard: files, soft: files }];
}

function whole(flag: string, text: string): number | undefined {
  if (text === "") return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw invalidArgument(`flag ${flag} "${text}": must be a whole number`);
  return value;
}

function size(flag: string, text: string): bigint {
  try {
    return parseSize(text);
  } catch (err) {
    throw invalidArgument(`flag ${flag} "${text}": use bytes or a size such as 64m`, { cause: err });
  }
}
