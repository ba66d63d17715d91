/** Devices in a spec: --device, --privileged, --gpus. */

import { readdirSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument, isInvalidArgument, notFound } from "../../core/errors.ts";
import type { HostDevice } from "../../oci/cdi/cdi.ts";
import { linuxOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Device, Spec } from "../../oci/spec/types.ts";
import { toStderr } from "../shared/output.ts";

/** Entries of /dev that a container has of its own, or that are no devices of the machine. */
const NOT_HOST_DEVICES: ReadonlySet<string> = new Set([
  "pts",
  "shm",
  "fd",
  "mqueue",
  "console",
  ".lxc",
  ".lxd-mounts",
  ".udev",
]);

/** `PATH[:PATH-INSIDE[:rwm]]`; a folder means every device below it. @throws not-found, invalid-argument */
export function addDevice(spec: Spec, flag: string): void {
  const [path = "", inside = path, access = "rwm"] = flag.split(":");
  if (!/^[rwm]+$/.test(access)) throw invalidArgument(`device "${flag}": access must be made of r, w and m`);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw notFound(`device "${path}"`);
  const found = stat.isDirectory() ? walk(path, inside) : [deviceOf(path, inside, stat)];
  if (found.length === 0) throw notFound(`device below "${path}"`);
  add(spec, found);
  const rules = found.map(({ type, major, minor }) => ({ allow: true, type, major, minor, access }));
  const resources = resourcesOf(spec);
  resources.devices = [...(resources.devices ?? []), ...rules];
}

/** Every device of the machine, and leave to use (and make) any. */
export function addHostDevices(spec: Spec): void {
  add(spec, walk("/dev", "/dev"));
  resourcesOf(spec).devices = [{ allow: true, access: "rwm" }];
}

/**
 * Devices by the Container Device Interface. `VENDOR/CLASS=NAME` is taken as it is; a bare name is that of a device of a class
 * `gpu`.
 * @throws not-found naming what there is
 */
export async function addCdiDevices(spec: Spec, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const { deviceNames, injectDevices, isQualifiedDevice } = await import("../../oci/cdi/cdi.ts");
  const { CDI_DIRS, readCdiFiles } = await import("../../oci/cdi/files.ts");
  const { specs, broken } = readCdiFiles();
  for (const { file, reason } of broken) toStderr(`ctr: warning: ${file}: ${reason}\n`);
  const known = deviceNames(specs);
  const wanted = names.map((name) => {
    if (isQualifiedDevice(name)) return name;
    const matches = known.filter((k) => k.endsWith(`/gpu=${name}`));
    if (matches.length > 1)
      throw invalidArgument(`gpu "${name}": several vendors have it: ${matches.join(", ")}`);
    return matches[0] ?? `unknown/gpu=${name}`;
  });
  const missing = injectDevices(spec, wanted, specs, lookup);
  if (missing.length === 0) return;
  const asked = names.filter((_name, i) => missing.includes(wanted[i] ?? ""));
  throw notFound(`CDI device ${asked.map((m) => `"${m}"`).join(", ")}`, {
    hint:
      known.length > 0
        ? `there is: ${known.join(", ")}`
        : `no devices are described in ${CDI_DIRS.join(" or ")}`,
  });
}

function lookup(path: string): HostDevice {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw notFound(`device "${path}"`);
  if (stat.isFIFO()) return { type: "p", major: 0, minor: 0, mode: stat.mode };
  const { type, major, minor } = deviceOf(path, path, stat);
  return { type: type as "b" | "c", major, minor, mode: stat.mode };
}

/** Later ones replace earlier ones of the same path. */
function add(spec: Spec, devices: readonly Device[]): void {
  const linux = linuxOf(spec);
  const paths = new Set(devices.map((d) => d.path));
  linux.devices = [...(linux.devices ?? []).filter((d) => !paths.has(d.path)), ...devices];
}

function walk(path: string, inside: string): Device[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    if (NOT_HOST_DEVICES.has(entry.name)) return [];
    const from = join(path, entry.name);
    const to = join(inside, entry.name);
    if (entry.isDirectory()) return walk(from, to);
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    try {
      return [deviceOf(from, to, statSync(from))];
    } catch (err) {
      // gone since the listing
      if (isInvalidArgument(err) || (err instanceof Error && "code" in err)) return [];
      throw err;
    }
  });
}

function deviceOf(path: string, inside: string, stat: Stats): Device {
  if (!stat.isCharacterDevice() && !stat.isBlockDevice())
    throw invalidArgument(`device "${path}": not a device`);
  // Linux dev_t: 12 + 20 bits, split as glibc's gnu_dev_major does
  const rdev = BigInt(stat.rdev);
  return {
    path: inside,
    type: stat.isBlockDevice() ? "b" : "c",
    major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
    minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffffffffn)),
    fileMode: stat.mode & 0o777,
    uid: stat.uid,
    gid: stat.gid,
  };
}
