/** Block I/O and RDT classes, which annotations ask for. */
import type { ContainerConfig, PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition } from "../../core/errors.ts";
import type { Spec } from "../../oci/spec/types.ts";
import type { SpecSettings } from "./input.ts";

type Settings = Pick<SpecSettings, "ignoreBlockioNotEnabledErrors" | "ignoreRdtNotEnabledErrors">;

/**
 * The class that annotations name for a container: its own, then the pod's for this container, then the pod's.
 * @param domain `blockio.resources.beta.kubernetes.io` or `rdt.resources.beta.kubernetes.io`
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

/** Neither is configured in this engine. @throws failed-precondition unless told to ignore that */
export async function withClasses(
  _spec: Spec,
  config: ContainerConfig,
  pod: PodSandboxConfig,
  settings: Settings,
  warn: (message: string) => void,
): Promise<void> {
  const blockio = classOf("blockio", config, pod);
  if (blockio !== "") {
    const text = `blockio disabled, refusing to set blockio class of container "${config.metadata?.name ?? ""}" to "${blockio}"`;
    if (!settings.ignoreBlockioNotEnabledErrors) throw failedPrecondition(text);
    warn(text);
  }
  const rdt = classOf("rdt", config, pod);
  if (rdt === "") return;
  const text = `RDT disabled, refusing to set RDT class of container "${config.metadata?.name ?? ""}" to "${rdt}"`;
  if (!settings.ignoreRdtNotEnabledErrors) throw failedPrecondition(text);
  warn(text);
}
