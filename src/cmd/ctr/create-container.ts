/** Makes a container record from flags: image, snapshot, spec. Used by `run` and `containers create`. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { containersClient } from "../../client/containers.ts";
import { contentClient } from "../../client/content.ts";
import { imagesClient } from "../../client/images.ts";
import { namespacesClient } from "../../client/namespaces.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { beginLease, type HeldLease } from "../../client/with-lease.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { Container } from "../../core/containers/containers.ts";
import { invalidArgument, isAlreadyExists, isNotFound, notFound } from "../../core/errors.ts";
import { checkIdentifier } from "../../core/ids/namespace.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { hostPlatform, parsePlatform } from "../../oci/platform.ts";
import { defaultDeviceRules, defaultSpec } from "../../oci/spec/default.ts";
import { packSpec, parseExactJson, toExactJson } from "../../oci/spec/json.ts";
import * as opt from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import type { Transport } from "../../rpc/types.ts";
import { labelsOf, listOf, textOf } from "./context.ts";
import { chainIdOf, type ResolvedImage, resolveImage } from "./image-config.ts";
import { applyClasses } from "./io-classes.ts";
import { applyLimits } from "./limits.ts";
import { applyUser } from "./run-user.ts";
import { runtimeOptions } from "./runtime-options.ts";
import { addCdiDevices, addDevice, addHostDevices } from "./spec-devices.ts";
import { applyAppArmor, applySeccomp } from "./spec-security.ts";
import { mappingsOf, remapSnapshot, withUserNamespace } from "./userns.ts";

type Options = Readonly<Record<string, unknown>>;

/** What creation needs. */
export interface CreateRequest {
  readonly transport: Transport;
  readonly call: NamespacedCall;
  /** Positionals: image or rootfs, id, command. */
  readonly args: readonly string[];
  readonly options: Options;
  /** Last word on a spec made from an image: mounts, hooks. */
  readonly adjust?: ((spec: Spec) => void | Promise<void>) | undefined;
}

/** A record that was made. */
export interface MadeContainer extends Container {
  /** Mounts of the snapshot made for it; none without a snapshot. */
  readonly rootfs: readonly Mount[];
}

/** Label prefixes that clients act on: an image may not set them (S25). */
const RESERVED = ["containerd.io/restart.", "io.cri-containerd", "io.containerd.", "gantry."];

/**
 * Makes the record (and its snapshot). Cleans the snapshot up when the record cannot be made.
 * @param later takes the end of the lease, which nothing has to wait for; without it, it is awaited here
 */
export async function createContainer(
  request: CreateRequest,
  later?: (work: Promise<void>) => void,
): Promise<MadeContainer> {
  // the snapshot exists before the record that holds it; reading the image does not wait for the lease
  const lease = beginLease(request.transport, request.call);
  lease.catch(() => {}); // told where it is needed
  const end = (): Promise<void> =>
    lease.then(
      (held) => held.end(),
      () => {},
    );
  let made: MadeContainer;
  try {
    made = await create(request, lease);
  } catch (err) {
    await end();
    throw err;
  }
  if (later === undefined) await end();
  else later(end());
  return made;
}

/** The id that the positionals name. @throws invalid-argument */
export function containerIdOf(args: readonly string[], options: Options): string {
  const [first = "", second = ""] = args;
  // with a spec file there is no image: the first positional is the id
  const config = textOf(options, "config");
  const id = config === "" ? second : first;
  if (config === "" && first === "")
    throw invalidArgument("image ref must be provided", {
      hint: "usage: ctr run [flags] IMAGE ID [COMMAND]",
    });
  if (id === "")
    throw invalidArgument("container id must be provided", {
      hint: "usage: ctr run [flags] IMAGE ID [COMMAND]",
    });
  checkIdentifier(id);
  return id;
}

async function create(request: CreateRequest, lease: Promise<HeldLease>): Promise<MadeContainer> {
  const { transport, options } = request;
  let { call } = request;
  const [first = "", _id, ...rest] = request.args;
  const config = textOf(options, "config");
  const id = containerIdOf(request.args, options);
  const spec = defaultSpec(call.namespace, id);
  opt.resourcesOf(spec).devices = defaultDeviceRules() ?? [];
  const labels = labelsOf(listOf(options, "label"));
  const mappings = mappingsOf(options);
  const runtime = textOf(options, "runtime") || "io.containerd.runc.v2";
  const base = {
    id,
    labels,
    runtime: { name: runtime, options: runtimeOptions(runtime, options) },
    extensions: new Map(),
    sandbox: textOf(options, "sandbox"),
  };
  const containers = containersClient(transport);
  if (config !== "") {
    const given = parseExactJson(readFileSync(config, "utf8")) as Spec;
    const made = await containers.create((await lease).call, {
      ...base,
      image: "",
      snapshotter: "",
      snapshotKey: "",
      spec: packSpec(given),
    });
    return { ...made, rootfs: [] };
  }
  if (options["rootfs"] === true) {
    spec.root = { path: resolve(first), readonly: options["readOnly"] === true };
    // the folder is the user's: its owners are not changed
    if (mappings !== undefined) withUserNamespace(spec, mappings);
    await applyFlags(spec, options);
    const process = opt.processOf(spec);
    process.args = rest;
    process.env = opt.mergeEnv(process.env ?? [], envOf(options));
    dump(spec, options);
    const made = await containers.create((await lease).call, {
      ...base,
      image: "",
      snapshotter: "",
      snapshotKey: "",
      spec: packSpec(spec),
    });
    return { ...made, rootfs: [] };
  }
  const chosen = textOf(options, "snapshotter");
  const fallback = chosen === "" ? defaultSnapshotter(transport, call) : undefined;
  const image = await imagesClient(transport)
    .get(call, first)
    .catch((err: unknown) => {
      throw isNotFound(err)
        ? notFound(`image "${first}"`, { hint: `pull it first: ctr images pull ${first}` })
        : err;
    });
  const platform =
    textOf(options, "platform") === "" ? hostPlatform() : parsePlatform(textOf(options, "platform"));
  const resolved = await resolveImage(contentClient(transport), call, image.target, platform);
  const snapshotter = fallback === undefined ? chosen : await fallback;
  call = (await lease).call;
  opt.withImageConfig(spec, resolved.run, rest);
  for (const [k, v] of resolved.labels)
    if (!labels.has(k) && !RESERVED.some((p) => k.startsWith(p))) labels.set(k, v);
  if (resolved.run.stopSignal !== "")
    labels.set("io.containerd.image.config.stop-signal", resolved.run.stopSignal);
  const snapshots = snapshotterClient(transport, snapshotter);
  const snapshotLabels = labelsOf(listOf(options, "snapshotterLabel"));
  // also for --read-only: the OCI runtime makes the folders it mounts on, and closes the root after that
  const prepare = (parent: string): Promise<readonly Mount[]> =>
    snapshots.prepare(call, id, parent, snapshotLabels);
  const unpacked = async (): Promise<string> =>
    (await ensureUnpacked(transport, call, snapshotter, resolved)) ?? "";
  let mounts: readonly Mount[];
  if (mappings !== undefined) {
    withUserNamespace(spec, mappings);
    const remapped = await remapSnapshot(transport, call, snapshotter, await unpacked(), mappings, options);
    for (const [k, v] of remapped.labels) snapshotLabels.set(k, v);
    mounts = await prepare(remapped.parent);
  } else {
    // layers that are not there are missed by the snapshotter too: they are not asked for before
    mounts = await prepare(chainIdOf(resolved.diffIds) ?? "").catch(async (err: unknown) => {
      if (isAlreadyExists(err)) throw err;
      return await prepare(await unpacked());
    });
  }
  try {
    await applyUser(
      spec,
      textOf(options, "user") || resolved.run.user,
      mounts,
      textOf(options, "user") === "" && resolved.run.user === "",
    );
    await applyFlags(spec, options);
    const process = opt.processOf(spec);
    process.env = opt.mergeEnv(process.env ?? [], envOf(options));
    await request.adjust?.(spec);
    dump(spec, options);
    const made = await containers.create(call, {
      ...base,
      image: first,
      snapshotter,
      snapshotKey: id,
      spec: packSpec(spec),
    });
    return { ...made, rootfs: mounts };
  } catch (err) {
    await snapshots.remove(call.detached(10_000), id).catch(() => {});
    throw err;
  }
}

/** Thrown when the spec was to be written and nothing more: what was made for it is undone on the way. */
export class SpecWritten extends Error {}

function dump(spec: Spec, options: Options): void {
  const path = textOf(options, "dumpConfig");
  if (path === "") return;
  writeFileSync(path, toExactJson(spec, 4));
  throw new SpecWritten();
}

async function defaultSnapshotter(transport: Transport, call: NamespacedCall): Promise<string> {
  const info = await namespacesClient(transport)
    .get(call, call.namespace)
    .catch(() => undefined);
  return info?.labels.get("containerd.io/defaults/snapshotter") ?? "overlayfs";
}

/** Returns the chain's top snapshot, unpacking layers that are not there. */
export async function ensureUnpacked(
  transport: Transport,
  call: NamespacedCall,
  snapshotter: string,
  image: ResolvedImage,
): Promise<string | undefined> {
  const top = chainIdOf(image.diffIds);
  if (top === undefined) return undefined;
  try {
    await snapshotterClient(transport, snapshotter).stat(call, top);
    return top;
  } catch (err) {
    if (!isNotFound(err)) throw err;
  }
  const { unpackImage } = await import("./unpack.ts");
  return await unpackImage(transport, call, snapshotter, image);
}

function envOf(options: Options): string[] {
  const file = textOf(options, "envFile");
  const fromFile =
    file === ""
      ? []
      : readFileSync(file, "utf8")
          .split("\n")
          .map((l) => l.trim())
          .filter((l) => l !== "" && !l.startsWith("#"));
  return [...fromFile, ...listOf(options, "env")];
}

async function applyFlags(spec: Spec, options: Options): Promise<void> {
  const process = opt.processOf(spec);
  if (options["privileged"] === true) opt.withPrivileged(spec, allCapabilities());
  if (options["privileged"] === true && options["privilegedWithoutHostDevices"] !== true)
    addHostDevices(spec);
  if (options["allowNewPrivs"] === true) process.noNewPrivileges = false;
  if (options["tty"] === true) opt.withTty(spec);
  if (textOf(options, "cwd") !== "") process.cwd = textOf(options, "cwd");
  if (options["readOnly"] === true && spec.root !== undefined) spec.root.readonly = true;
  if (textOf(options, "hostname") !== "") spec.hostname = textOf(options, "hostname");
  if (options["netHost"] === true) {
    opt.withHostNetwork(spec);
    for (const file of ["/etc/hosts", "/etc/resolv.conf"]) {
      if (exists(file))
        spec.mounts?.push({ destination: file, type: "bind", source: file, options: ["rbind", "ro"] });
    }
    if (textOf(options, "hostname") === "")
      spec.hostname = readFileSync("/proc/sys/kernel/hostname", "utf8").trim();
  }
  spec.mounts?.push(...listOf(options, "mount").map(opt.parseMountFlag));
  for (const ns of listOf(options, "withNs")) {
    const at = ns.indexOf(":");
    if (at < 1) throw invalidArgument(`namespace "${ns}": use TYPE:PATH, such as network:/var/run/netns/x`);
    opt.withNamespace(spec, ns.slice(0, at), ns.slice(at + 1));
  }
  opt.addCapabilities(spec, listOf(options, "capAdd"));
  opt.dropCapabilities(spec, listOf(options, "capDrop"));
  for (const [k, v] of labelsOf(listOf(options, "annotation")))
    spec.annotations = { ...spec.annotations, [k]: v };
  await applyAppArmor(spec, options);
  if (textOf(options, "rootfsPropagation") !== "")
    opt.linuxOf(spec).rootfsPropagation = textOf(options, "rootfsPropagation");
  if ("cgroup" in options) opt.linuxOf(spec).cgroupsPath = textOf(options, "cgroup");
  for (const device of listOf(options, "device")) addDevice(spec, device);
  applyLimits(spec, options);
  await addCdiDevices(spec, listOf(options, "gpus"));
  await applyClasses(spec, options);
  await applySeccomp(spec, options);
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Every capability this process may hand out: its bounding set. */
function allCapabilities(): string[] {
  const status = readFileSync("/proc/self/status", "utf8");
  const bits = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  return CAPABILITY_NAMES.filter((_name, i) => (bits >> BigInt(i)) & 1n);
}

/** Names by number (linux/capability.h). */
export const CAPABILITY_NAMES: readonly string[] =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    .split(" ")
    .map((n) => `CAP_${n}`);
