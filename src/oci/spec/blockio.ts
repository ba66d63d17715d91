/**
 * Classes of block IO: a YAML file names classes, each a list of weights and throttles for device patterns. The format is the one
 * that containerd, CRI-O and their users share:
 *
 *     Classes:
 *       slow:
 *         - Devices: ["/dev/sd[a-c]", "/dev/vd*"]
 *           ThrottleReadBps: 60M
 *           Weight: 80
 *         - Weight: 20          # without devices: the container's own weight
 */
import { parse } from "yaml";
import { invalidArgument, messageOf, notFound } from "../../core/errors.ts";
import type { Int } from "./types.ts";

/** A block device of the host. */
export interface BlockDevice {
  readonly major: Int;
  readonly minor: Int;
}

/** The block devices that a pattern (`*`, `?`, `[a-c]` in file names) fits. */
export type FindBlockDevices = (pattern: string) => readonly BlockDevice[];

/** Names in lower case, as the file's keys are compared, to those of the runtime spec. */
const THROTTLES: Readonly<Record<string, string>> = {
  throttlereadbps: "throttleReadBpsDevice",
  throttlewritebps: "throttleWriteBpsDevice",
  throttlereadiops: "throttleReadIOPSDevice",
  throttlewriteiops: "throttleWriteIOPSDevice",
};

/**
 * `linux.resources.blockIO` of a class.
 * @throws invalid-argument for a file that is not such, not-found for a class it does not have
 */
export function blockIoOf(text: string, name: string, find: FindBlockDevices): Record<string, unknown> {
  const classes = lowered(lowered(document(text))["classes"]);
  const wanted = Object.entries(classes).find(([key]) => key === name.toLowerCase())?.[1];
  if (wanted === undefined)
    throw notFound(`blockio class "${name}"`, { hint: `the file has: ${Object.keys(classes).join(", ")}` });
  if (!Array.isArray(wanted)) throw invalidArgument(`blockio class "${name}": must be a list`);
  const out: Record<string, unknown> = {};
  const lists = new Map<string, Map<string, object>>();
  const put = (list: string, device: BlockDevice, value: object): void => {
    const known = lists.get(list) ?? new Map<string, object>();
    // a later entry wins
    known.set(`${device.major}:${device.minor}`, { major: device.major, minor: device.minor, ...value });
    lists.set(list, known);
  };
  for (const entry of wanted.map(lowered)) {
    const patterns = entry["devices"];
    const devices = Array.isArray(patterns) ? patterns.flatMap((p) => find(String(p))) : [];
    if (Array.isArray(patterns) && devices.length === 0)
      throw notFound(`block device of blockio class "${name}": ${patterns.join(", ")}`);
    if (entry["weight"] !== undefined) {
      const weight = whole("Weight", entry["weight"]);
      if (devices.length === 0) out["weight"] = weight;
      for (const device of devices) put("weightDevice", device, { weight });
    }
    for (const [key, list] of Object.entries(THROTTLES)) {
      if (entry[key] === undefined) continue;
      if (devices.length === 0) throw invalidArgument(`blockio class "${name}": ${key} needs devices`);
      const rate = whole(key, entry[key]);
      for (const device of devices) put(list, device, { rate });
    }
  }
  for (const [list, values] of lists) out[list] = [...values.values()];
  return out;
}

function document(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 100 });
  } catch (err) {
    throw invalidArgument(`read blockio configuration: ${messageOf(err)}`, { cause: err });
  }
}

/** A table with its keys in lower case; empty for anything else. */
function lowered(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key.toLowerCase(), v]));
}

/** Quantities as Kubernetes writes them: 60M is a decimal million, 60Mi a binary one. */
function whole(key: string, value: unknown): number {
  const match = /^(\d+)([kMGT]i?|Ki)?$/.exec(String(value).trim());
  const unit = match?.[2] ?? "";
  const power = ["", "k", "m", "g", "t"].indexOf(unit.replace("i", "").toLowerCase());
  const size = Number(match?.[1]) * (unit.endsWith("i") ? 1024 : 1000) ** power;
  if (match !== null && Number.isSafeInteger(size)) return size;
  throw invalidArgument(`blockio ${key} "${String(value)}": must be a number or a size such as 60M`);
}
