/**
 * Container Device Interface: vendors describe devices as edits of a container spec in JSON or YAML files of a few folders. Devices are
 * named `VENDOR/CLASS=NAME`.
 */
import { invalidArgument } from "../../core/errors.ts";
import { linuxOf, mergeEnv, processOf, resourcesOf } from "../spec/options.ts";
import type { Device, Int, Spec } from "../spec/types.ts";
import type { CdiEdits, CdiSpec } from "./schema.ts";

/** What the host says of a device node that a file names without its numbers. */
export interface HostDevice {
  readonly type: "b" | "c" | "p";
  readonly major: Int;
  readonly minor: Int;
  readonly mode: number;
}

/** Looks a device node up on the host. @throws not-found */
export type DeviceLookup = (path: string) => HostDevice;

const HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
const QUALIFIED = /^[A-Za-z][\w.-]*\/[A-Za-z][\w-]*=[A-Za-z0-9][\w.:-]*$/;

/** True for `VENDOR/CLASS=NAME`. */
export function isQualifiedDevice(name: string): boolean {
  return QUALIFIED.test(name);
}

/**
 * Applies devices to a spec: first the edits that come with each file that is used, once, then those of every device.
 * @param specs lowest priority first: a later file's device replaces an earlier one of the same name
 * @returns names that no file describes; when there are any, the spec is unchanged
 */
export function injectDevices(
  spec: Spec,
  names: readonly string[],
  specs: readonly CdiSpec[],
  lookup: DeviceLookup,
): string[] {
  const missing: string[] = [];
  const used = new Set<CdiSpec>();
  const edits: CdiEdits[] = [];
  for (const name of new Set(names)) {
    if (!isQualifiedDevice(name)) throw invalidArgument(`device "${name}": use VENDOR/CLASS=NAME`);
    const found = find(name, specs);
    if (found === undefined) {
      missing.push(name);
      continue;
    }
    if (!used.has(found.spec) && found.spec.containerEdits !== undefined)
      edits.push(found.spec.containerEdits);
    used.add(found.spec);
    edits.push(found.edits);
  }
  if (missing.length > 0) return missing;
  for (const edit of edits) apply(spec, edit, lookup);
  return [];
}

/** Every device as `VENDOR/CLASS=NAME`. */
export function deviceNames(specs: readonly CdiSpec[]): string[] {
  return [...new Set(specs.flatMap((s) => s.devices.map((d) => `${s.kind}=${d.name}`)))].sort();
}

function find(name: string, specs: readonly CdiSpec[]): { spec: CdiSpec; edits: CdiEdits } | undefined {
  for (const spec of [...specs].reverse()) {
    const device = spec.devices.find((d) => `${spec.kind}=${d.name}` === name);
    if (device !== undefined) return { spec, edits: device.containerEdits };
  }
  return undefined;
}

function apply(spec: Spec, edits: CdiEdits, lookup: DeviceLookup): void {
  const process = processOf(spec);
  if (edits.env !== undefined) process.env = mergeEnv(process.env ?? [], edits.env);
  for (const node of edits.deviceNodes ?? []) addNode(spec, node, lookup);
  for (const mount of edits.mounts ?? []) {
    spec.mounts = [
      ...(spec.mounts ?? []).filter((m) => m.destination !== mount.containerPath),
      {
        destination: mount.containerPath,
        source: mount.hostPath,
        type: mount.type ?? "bind",
        options: mount.options ?? ["rbind", "nosuid", "nodev", "ro"],
      },
    ];
  }
  for (const { hookName, ...hook } of edits.hooks ?? []) {
    if (!HOOKS.includes(hookName)) throw invalidArgument(`device hook "${hookName}": unknown`);
    const before = spec.hooks?.[hookName];
    spec.hooks = {
      ...spec.hooks,
      [hookName]: [...(Array.isArray(before) ? (before as unknown[]) : []), hook],
    };
  }
  if (edits.additionalGids !== undefined) {
    // 0 means "not set" in files of generators that always write the member
    const gids = edits.additionalGids.filter((gid) => gid !== 0);
    process.user.additionalGids = [...new Set([...(process.user.additionalGids ?? []), ...gids])];
  }
  if (edits.intelRdt !== undefined) linuxOf(spec).intelRdt = edits.intelRdt;
}

function addNode(spec: Spec, node: NonNullable<CdiEdits["deviceNodes"]>[number], lookup: DeviceLookup): void {
  const known =
    node.type !== undefined && (node.type === "p" || (node.major !== undefined && node.minor !== undefined));
  const host = known ? undefined : lookup(node.hostPath ?? node.path);
  const type = node.type === "u" ? "c" : (node.type ?? host?.type ?? "c");
  const major = node.major ?? host?.major ?? 0;
  const minor = node.minor ?? host?.minor ?? 0;
  const { uid, gid } = processOf(spec).user;
  const device: Device = {
    path: node.path,
    type,
    major,
    minor,
    fileMode: node.fileMode ?? (host === undefined ? 0o666 : host.mode & 0o777),
    // the process owns its devices unless the file says otherwise
    uid: node.uid ?? uid,
    gid: node.gid ?? gid,
  };
  const linux = linuxOf(spec);
  linux.devices = [...(linux.devices ?? []).filter((d) => d.path !== node.path), device];
  if (type !== "b" && type !== "c") return;
  const resources = resourcesOf(spec);
  const access = node.permissions === undefined || node.permissions === "" ? "rwm" : node.permissions;
  if (access === "none") return;
  resources.devices = [...(resources.devices ?? []), { allow: true, type, major, minor, access }];
}
