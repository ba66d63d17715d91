/**
 * Block I/O and RDT classes, which annotations ask for. As in containerd they are on when the table
 * `io.containerd.service.v1.tasks-service` names a configuration.
 */
import { readdirSync, statSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ContainerConfig, PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, invalidArgument, messageOf } from "../../core/errors.ts";
import type { BlockDevice } from "../../oci/spec/blockio.ts";
import { linuxOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { globExpression } from "./annotations.ts";
import { deviceNumbers } from "./devices.ts";
import type { SpecSettings } from "./input.ts";

/** Files of class definitions; "" = off. */
export interface ClassFiles {
  readonly blockioConfigFile: string;
  readonly rdtConfigFile: string;
}

type Settings = Pick<
  SpecSettings,
  "ignoreBlockioNotEnabledErrors" | "ignoreRdtNotEnabledErrors" | "blockioConfigFile" | "rdtConfigFile"
>;

/** Where the kernel has its RDT groups. */
const RESCTRL = "/sys/fs/resctrl";

/** The files that the daemon's configuration names. */
export function classFiles(daemonSettings: Readonly<Record<string, unknown>>): ClassFiles {
  const table = (value: unknown): Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  const tasks = table(table(daemonSettings["plugins"])["io.containerd.service.v1.tasks-service"]);
  const text = (key: string): string => (typeof tasks[key] === "string" ? tasks[key] : "");
  return { blockioConfigFile: text("blockio_config_file"), rdtConfigFile: text("rdt_config_file") };
}

/**
 * The class that annotations name for a container: its own, then the pod's for this container, then the pod's.
 * @param domain `blockio` or `rdt`
 */
export function classOf(domain: string, config: ContainerConfig, pod: PodSandboxConfig): string {
  const name = config.metadata?.name ?? "";
  return (
    config.annotations[`io.kubernetes.cri.${domain}-class`] ??
    pod.annotations[`${domain}.resources.beta.kubernetes.io/container.${name}`] ??
    pod.annotations[`${domain}.resources.beta.kubernetes.io/pod`] ??
    ""
  );
}

/**
 * Sets both. Groups of RDT are made by the administrator; the OCI runtime refuses one that is not there.
 * @throws failed-precondition for a class whose kind is off, unless told to ignore that; invalid-argument, not-found
 */
export async function withClasses(
  spec: Spec,
  config: ContainerConfig,
  pod: PodSandboxConfig,
  settings: Settings,
  warn: (message: string) => void,
): Promise<void> {
  const container = config.metadata?.name ?? "";
  const off = (kind: string, set: string, name: string, ignore: boolean): void => {
    const text = `${kind} disabled, refusing to set ${set} class of container "${container}" to "${name}"`;
    if (!ignore) throw failedPrecondition(text);
    warn(text);
  };
  const blockio = classOf("blockio", config, pod);
  const file = settings.blockioConfigFile ?? "";
  if (blockio !== "") {
    if (file === "") off("blockio", "blockio", blockio, settings.ignoreBlockioNotEnabledErrors);
    else resourcesOf(spec).blockIO = await blockIo(file, blockio);
  }
  const rdt = classOf("rdt", config, pod);
  if (rdt === "") return;
  const enabled =
    (settings.rdtConfigFile ?? "") !== "" && (await stat(join(RESCTRL, "schemata")).catch(() => undefined));
  if (!enabled) return off("RDT", "RDT", rdt, settings.ignoreRdtNotEnabledErrors);
  if (!/^[\w.-]+$/.test(rdt) || /^\.+$/.test(rdt))
    throw invalidArgument(`RDT class "${rdt}": not a usable name`);
  linuxOf(spec).intelRdt = { closID: rdt };
}

async function blockIo(file: string, name: string): Promise<Record<string, unknown>> {
  const { blockIoOf } = await import("../../oci/spec/blockio.ts");
  const text = await readFile(file, "utf8").catch((err: unknown) => {
    throw invalidArgument(`read blockio_config_file "${file}": ${messageOf(err)}`, { cause: err });
  });
  return blockIoOf(text, name, findDevices);
}

/** Block devices that a pattern fits; links count, as those in /dev/disk. Patterns are in the last part of the path. */
function findDevices(pattern: string): BlockDevice[] {
  const folder = dirname(pattern);
  const fits = globExpression(basename(pattern));
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    if (fits?.test(name) !== true) return [];
    const node = statSync(join(folder, name), { throwIfNoEntry: false });
    if (node?.isBlockDevice() !== true) return [];
    const { major, minor } = deviceNumbers(node.rdev);
    return [{ major, minor }];
  });
}
