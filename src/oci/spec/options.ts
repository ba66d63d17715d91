/** Steps that change a spec: each does one thing a flag or an image config asks for. */
import { invalidArgument } from "../../core/errors.ts";
import { DEFAULT_PATH } from "./default.ts";
import type { Capabilities, Linux, Process, Resources, Spec, SpecMount } from "./types.ts";

/** What of an image config matters to a spec (image-spec config.md). */
export interface ImageRunConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly stopSignal: string;
}

/** The process of a spec, made when missing. */
export function processOf(spec: Spec): Process {
  spec.process ??= { user: { uid: 0, gid: 0 }, cwd: "/" };
  return spec.process;
}

export function linuxOf(spec: Spec): Linux {
  spec.linux ??= {};
  return spec.linux;
}

export function resourcesOf(spec: Spec): Resources {
  const linux = linuxOf(spec);
  linux.resources ??= {};
  return linux.resources;
}

/** Applies command, environment and folder of an image. `args` replaces the image's Cmd, and Entrypoint stays. @throws invalid-argument when nothing would run */
export function withImageConfig(spec: Spec, config: ImageRunConfig, args: readonly string[]): void {
  const process = processOf(spec);
  process.env = mergeEnv([DEFAULT_PATH], config.env);
  const command = [...config.entrypoint, ...(args.length > 0 ? args : config.cmd)];
  if (command.length === 0)
    throw invalidArgument("no arguments specified: the image has no command", {
      hint: "give a command after the container id",
    });
  process.args = command;
  process.cwd = config.workingDir === "" ? "/" : config.workingDir;
}

/** Later entries win by name; an entry without "=" removes the name and never takes the caller's value (S22). */
export function mergeEnv(base: readonly string[], over: readonly string[]): string[] {
  const out = new Map<string, string>();
  for (const entry of [...base, ...over]) {
    if (entry.includes("\0")) throw invalidArgument("environment: contains a NUL byte");
    const at = entry.indexOf("=");
    if (at < 0) out.delete(entry);
    else out.set(entry.slice(0, at), entry);
  }
  return [...out.values()];
}

/** Adds TERM for terminals, as containerd does. */
export function withTty(spec: Spec): void {
  const process = processOf(spec);
  process.terminal = true;
  process.env = mergeEnv(["TERM=xterm"], process.env ?? []);
}

/** Joins the host's network: no network namespace, the host's name files. */
export function withHostNetwork(spec: Spec): void {
  const linux = linuxOf(spec);
  linux.namespaces = (linux.namespaces ?? []).filter((n) => n.type !== "network");
}

/** Sets the path of a namespace, adding it when missing. */
export function withNamespace(spec: Spec, type: string, path: string): void {
  const linux = linuxOf(spec);
  linux.namespaces = [...(linux.namespaces ?? []).filter((n) => n.type !== type), { type, path }];
}

/** Parses `type=bind,src=/a,dst=/b,options=rbind:ro`. @throws invalid-argument */
export function parseMountFlag(text: string): SpecMount {
  const mount: SpecMount = { destination: "" };
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    const [key, value] = at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
    if (key === "type") mount.type = value;
    else if (key === "source" || key === "src") mount.source = value;
    else if (key === "destination" || key === "dst" || key === "target") mount.destination = value;
    else if (key === "options") mount.options = value.split(":").filter((o) => o !== "");
    else
      throw invalidArgument(`mount "${text}": unknown key "${key}"`, {
        hint: "use type=bind,src=/host,dst=/container,options=rbind:ro",
      });
  }
  if (!mount.destination.startsWith("/"))
    throw invalidArgument(`mount "${text}": dst must be an absolute path`);
  return mount;
}

/** Adds capabilities to the bounding, effective and permitted sets; never to inheritable or ambient (S20). */
export function addCapabilities(spec: Spec, names: readonly string[]): void {
  const caps = capabilitiesOf(spec);
  for (const set of ["bounding", "effective", "permitted"] as const)
    caps[set] = [...new Set([...(caps[set] ?? []), ...names.map(capName)])];
}

export function dropCapabilities(spec: Spec, names: readonly string[]): void {
  const caps = capabilitiesOf(spec);
  const gone = new Set(names.map(capName));
  for (const set of ["bounding", "effective", "permitted", "inheritable", "ambient"] as const) {
    if (caps[set] !== undefined) caps[set] = caps[set].filter((c) => !gone.has(c));
  }
}

export function setCapabilities(spec: Spec, names: readonly string[]): void {
  processOf(spec).capabilities = { bounding: [...names], effective: [...names], permitted: [...names] };
}

function capabilitiesOf(spec: Spec): Capabilities {
  const process = processOf(spec);
  process.capabilities ??= {};
  return process.capabilities;
}

function capName(name: string): string {
  const upper = name.toUpperCase();
  return upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
}

/** Everything the kernel can give: all capabilities, all devices, nothing masked, writable /sys and cgroups. */
export function withPrivileged(spec: Spec, allCapabilities: readonly string[]): void {
  setCapabilities(spec, allCapabilities);
  const linux = linuxOf(spec);
  linux.maskedPaths = [];
  linux.readonlyPaths = [];
  delete linux.seccomp;
  const process = processOf(spec);
  delete process.apparmorProfile;
  delete process.selinuxLabel;
  process.noNewPrivileges = false;
  for (const mount of spec.mounts ?? []) {
    if (mount.type === "sysfs" || mount.type === "cgroup")
      mount.options = (mount.options ?? []).map((o) => (o === "ro" ? "rw" : o));
  }
}
