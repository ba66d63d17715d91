/** Devices of a container: those of the request, the node's, and those described by CDI files. */
import type { Stats } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, invalidArgument, isInvalidArgument, notFound, wrap } from "../../core/errors.ts";
import type { HostDevice } from "../../oci/cdi/cdi.ts";
import { linuxOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Device, Spec } from "../../oci/spec/types.ts";

/** Entries of /dev that every container has of its own, or that are no devices of the machine. */
const NOT_HOST_DEVICES: ReadonlySet<string> = new Set(
  "pts shm fd mqueue console .lxc .lxd-mounts .udev".split(" "),
);

/**
 * The devices of the request, each with a rule for the cgroup. A folder stands for every device in it.
 * @param ownedByUser give them to the user and group of the security context (unless those are root)
 * @throws not-found, invalid-argument
 */
export async function withDevices(spec: Spec, config: ContainerConfig, ownedByUser: boolean): Promise<void> {
  const context = config.linux?.securityContext;
  const owner = (id: { value: bigint } | undefined): number | undefined =>
    ownedByUser && id !== undefined && id.value > 0n ? Number(id.value) : undefined;
  const [uid, gid] = [owner(context?.runAsUser), owner(context?.runAsGroup)];
  for (const { hostPath, containerPath, permissions } of config.devices) {
    if (!/^[rwm]*$/.test(permissions))
      throw invalidArgument(`device "${hostPath}": permissions "${permissions}" must be made of r, w and m`);
    const found = await devicesAt(hostPath, containerPath === "" ? hostPath : containerPath);
    const owned = found.map((d) => ({
      ...d,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    }));
    addDevices(spec, owned);
    const resources = resourcesOf(spec);
    const access = permissions === "" ? "rwm" : permissions;
    resources.devices = [
      ...(resources.devices ?? []),
      ...found.map(({ type, major, minor }) => ({ allow: true, type, major, minor, access })),
    ];
  }
}

async function devicesAt(hostPath: string, inside: string): Promise<Device[]> {
  const path = await realpath(hostPath).catch((err: unknown) => {
    throw notFound(`device "${hostPath}"`, { cause: err });
  });
  const found = await stat(path);
  const devices = found.isDirectory() ? await walk(path, inside) : [deviceOf(path, inside, found)];
  if (devices.length === 0) throw notFound(`device below "${hostPath}"`);
  return devices;
}

/** Every device of the node. */
export async function addHostDevices(spec: Spec): Promise<void> {
  addDevices(spec, await walk("/dev", "/dev"));
}

async function walk(path: string, inside: string): Promise<Device[]> {
  const entries = await readdir(path, { withFileTypes: true });
  const found = await Promise.all(
    entries
      .filter((entry) => !NOT_HOST_DEVICES.has(entry.name))
      .map(async (entry): Promise<Device[]> => {
        const from = join(path, entry.name);
        const to = join(inside, entry.name);
        if (entry.isDirectory()) return walk(from, to);
        if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
        try {
          return [deviceOf(from, to, await stat(from))];
        } catch (err) {
          // gone since the listing
          if (isInvalidArgument(err) || (err instanceof Error && "code" in err)) return [];
          throw err;
        }
      }),
  );
  return found.flat();
}

/** Later ones replace earlier ones of the same path. */
function addDevices(spec: Spec, devices: readonly Device[]): void {
  const linux = linuxOf(spec);
  const paths = new Set(devices.map((d) => d.path));
  linux.devices = [...(linux.devices ?? []).filter((d) => !paths.has(d.path)), ...devices];
}

function deviceOf(path: string, inside: string, found: Stats): Device {
  if (!found.isCharacterDevice() && !found.isBlockDevice())
    throw invalidArgument(`device "${path}": not a device`);
  return {
    path: inside,
    type: found.isBlockDevice() ? "b" : "c",
    ...deviceNumbers(found.rdev),
    fileMode: found.mode & 0o777,
    uid: found.uid,
    gid: found.gid,
  };
}

/** Parts of Linux's dev_t: 12 + 20 bits, split as glibc's gnu_dev_major does. */
export function deviceNumbers(device: number): { major: number; minor: number } {
  const rdev = BigInt(device);
  return {
    major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
    minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffffffffn)),
  };
}

/** Prefix of annotations that name CDI devices, separated by commas. */
const CDI_PREFIX = "cdi.k8s.io/";

/** CDI devices of the request: its field first, then its annotations. @throws invalid-argument */
export function cdiNames(config: ContainerConfig): string[] {
  const names = config.CDIDevices.map((d) => d.name);
  for (const [key, value] of Object.entries(config.annotations)) {
    if (!key.startsWith(CDI_PREFIX)) continue;
    if (!/^[\w.-]+$/.test(key.slice(CDI_PREFIX.length)))
      throw invalidArgument(`failed to parse CDI device annotations: invalid key "${key}"`);
    names.push(...value.split(",").map((name) => name.trim()));
  }
  return [...new Set(names)];
}

/**
 * Applies CDI devices.
 * @throws failed-precondition when CDI is off, not-found for devices that no file describes
 */
export async function withCdiDevices(
  spec: Spec,
  config: ContainerConfig,
  settings: { readonly enableCdi: boolean; readonly cdiSpecDirs: readonly string[] },
  warn: (message: string) => void,
): Promise<void> {
  if (!settings.enableCdi) {
    if (config.CDIDevices.length === 0) return;
    const names = config.CDIDevices.map((d) => d.name).join(", ");
    throw failedPrecondition(`CDI devices (${names}) requested but CDI support is explicitly disabled`);
  }
  const names = cdiNames(config);
  if (names.length === 0) return;
  const { injectDevices } = await import("../../oci/cdi/cdi.ts");
  const { readCdiFiles } = await import("../../oci/cdi/files.ts");
  const { specs, broken } = readCdiFiles(settings.cdiSpecDirs);
  for (const { file, reason } of broken) warn(`CDI file ${file}: ${reason}`);
  const nodes = await lookUp(names, specs);
  let missing: string[];
  try {
    missing = injectDevices(spec, names, specs, (path) => {
      const node = nodes.get(path);
      if (node === undefined) throw notFound(`device "${path}"`);
      return node;
    });
  } catch (err) {
    throw wrap(err, "CDI device injection failed");
  }
  if (missing.length > 0)
    throw notFound(`CDI device injection failed: unresolvable CDI devices ${missing.join(", ")}`);
}

type CdiSpecs = Awaited<ReturnType<typeof import("../../oci/cdi/files.ts")["readCdiFiles"]>>["specs"];

/** Nodes that the files name without numbers, looked up before the (synchronous) injection. */
async function lookUp(names: readonly string[], specs: CdiSpecs): Promise<ReadonlyMap<string, HostDevice>> {
  const used = specs.filter((s) => names.some((name) => name.startsWith(`${s.kind}=`)));
  const paths = used
    .flatMap((s) => [s.containerEdits, ...s.devices.map((d) => d.containerEdits)])
    .flatMap((edits) => edits?.deviceNodes ?? [])
    .map((node) => node.hostPath ?? node.path);
  const found = new Map<string, HostDevice>();
  await Promise.all(
    [...new Set(paths)].map(async (path) => {
      const node = await stat(path).catch(() => undefined);
      if (node === undefined) return;
      if (node.isFIFO()) found.set(path, { type: "p", major: 0, minor: 0, mode: node.mode });
      else if (node.isCharacterDevice() || node.isBlockDevice()) {
        const { type, major, minor } = deviceOf(path, path, node);
        found.set(path, { type: type as "b" | "c", major, minor, mode: node.mode });
      }
    }),
  );
  return found;
}
