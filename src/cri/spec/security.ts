/** Capabilities, privileged mode, masked paths. */
import type { LinuxContainerSecurityContext } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition } from "../../core/errors.ts";
import { allCapabilityNames } from "../../oci/spec/capabilities.ts";
import {
  addCapabilities,
  dropCapabilities,
  linuxOf,
  processOf,
  resourcesOf,
  setCapabilities,
  withPrivileged,
} from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { addHostDevices } from "./devices.ts";
import type { HandlerSettings, HostFacts } from "./input.ts";

const isAll = (name: string): boolean => name.toUpperCase() === "ALL";

/**
 * Adds and drops capabilities. ALL comes first on either side, so "add ALL, drop CHOWN" is everything but CHOWN. Ambient
 * capabilities stay empty (S20): what non-root users with capabilities get is not defined (kubernetes#56374). Names that no
 * kernel knows are left out, as OCI runtimes do.
 */
export function withCapabilities(
  spec: Spec,
  context: LinuxContainerSecurityContext | undefined,
  all: readonly string[],
): void {
  const wanted = context?.capabilities;
  if (wanted !== undefined) {
    if (wanted.addCapabilities.some(isAll)) setCapabilities(spec, all);
    if (wanted.dropCapabilities.some(isAll)) setCapabilities(spec, []);
    const known = new Set(allCapabilityNames());
    const names = (list: readonly string[]): string[] =>
      list
        .filter((name) => !isAll(name))
        .map((name) => `CAP_${name.toUpperCase().replace(/^CAP_/, "")}`)
        .filter((name) => known.has(name));
    addCapabilities(spec, names(wanted.addCapabilities));
    dropCapabilities(spec, names(wanted.dropCapabilities));
  }
  const { capabilities } = processOf(spec);
  if (capabilities === undefined) return;
  delete capabilities.ambient;
  delete capabilities.inheritable;
}

/**
 * A privileged container: all capabilities, nothing masked, /sys and cgroups writable, the node's devices.
 * @throws failed-precondition when the pod is not privileged
 */
export async function withPrivilege(
  spec: Spec,
  podPrivileged: boolean,
  handler: HandlerSettings,
  host: HostFacts,
): Promise<void> {
  if (!podPrivileged) throw failedPrecondition("no privileged container allowed in sandbox");
  withPrivileged(spec, host.capabilities);
  const allowAll = [{ allow: true, access: "rwm" }];
  if (!handler.privilegedWithoutHostDevices) {
    await addHostDevices(spec);
    resourcesOf(spec).devices = allowAll;
  } else if (handler.privilegedWithoutHostDevicesAllDevicesAllowed) resourcesOf(spec).devices = allowAll;
}

/** Replaces the default lists by those of the request, unless the configuration keeps the defaults. */
export function withPaths(
  spec: Spec,
  context: LinuxContainerSecurityContext | undefined,
  keepDefaults: boolean,
): void {
  if (keepDefaults) return;
  const linux = linuxOf(spec);
  linux.maskedPaths = [...(context?.maskedPaths ?? [])];
  linux.readonlyPaths = [...(context?.readonlyPaths ?? [])];
}
