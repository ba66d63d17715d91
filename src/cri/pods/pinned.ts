/**
 * Pods without a process (`pin_pod_namespaces`): their namespaces are kept by mounts. Not for pods whose containers share a PID
 * namespace, which needs a first process, nor for user namespaces and runtimes other than runc's.
 */
import { join } from "node:path";
import type { NamespacedCall } from "../../core/call.ts";
import { isPinned } from "../../platform/net/netns.ts";
import { pinNamespaces } from "../../platform/net/pin-namespaces.ts";
import type { RuntimeHandler } from "../config.ts";
import type { CriDeps } from "../deps.ts";
import type { Pod } from "../model.ts";
import { NAMESPACE_MODE } from "../spec/constants.ts";
import type { HostFacts } from "../spec/input.ts";
import { podSysctls } from "../spec/sysctls.ts";
import { userMappings } from "../spec/userns.ts";

/** Whether a new pod gets along without a process. */
export function canPin(deps: CriDeps, handler: RuntimeHandler, pod: Pick<Pod, "config" | "userns">): boolean {
  const mode: number | undefined = pod.config.linux?.securityContext?.namespaceOptions?.pid;
  return (
    deps.config.pinPodNamespaces &&
    handler.type === "io.containerd.runc.v2" &&
    (mode === NAMESPACE_MODE.container || mode === NAMESPACE_MODE.node) &&
    userMappings(pod.userns) === undefined
  );
}

/** Makes the namespaces and sets the pod's kernel parameters in them. */
export async function pinPod(
  call: NamespacedCall,
  pod: Pod,
  settings: CriDeps["config"],
  host: HostFacts,
): Promise<void> {
  const { network, ipc } = modes(pod);
  const sysctls = podSysctls(pod.config, {
    settings,
    host,
    hostNetwork: network,
    hostIpc: ipc,
    userns: false,
  });
  await pinNamespaces(
    {
      netns: network ? undefined : pod.netnsPath,
      ipc: ipc ? undefined : place(pod, "ipc"),
      // the node's network goes with the node's name
      uts: network ? undefined : place(pod, "uts"),
      hostname: pod.config.hostname,
      parameters: Object.fromEntries(
        Object.entries(sysctls).map(([key, value]) => [parameterPath(key), value]),
      ),
    },
    call.signal,
  );
}

/** Namespaces that containers of a pinned pod join, by kind. */
export function pinnedPaths(pod: Pod): Readonly<Record<string, string>> {
  const { network, ipc } = modes(pod);
  return {
    network: network ? "/proc/self/ns/net" : pod.netnsPath,
    ipc: ipc ? "/proc/self/ns/ipc" : place(pod, "ipc"),
    uts: network ? "/proc/self/ns/uts" : place(pod, "uts"),
    // only mode NODE asks for it: the others have their own or are not pinned
    pid: "/proc/self/ns/pid",
  };
}

/** Whether the namespaces are still there. On the node's network and IPC there is nothing to lose. */
export function pinnedAlive(pod: Pod): boolean {
  const { network, ipc } = modes(pod);
  return (network || isPinned(pod.netnsPath)) && (ipc || isPinned(place(pod, "ipc")));
}

function modes(pod: Pod): { readonly network: boolean; readonly ipc: boolean } {
  const options = pod.config.linux?.securityContext?.namespaceOptions;
  const node = (mode: number | undefined): boolean => mode === NAMESPACE_MODE.node;
  return { network: node(options?.network), ipc: node(options?.ipc) };
}

function place(pod: Pod, kind: string): string {
  return join(pod.stateDir, "ns", kind);
}

/** "net.ipv4.conf.eth0/1.x" is net/ipv4/conf/eth0.1/x below /proc/sys. */
export function parameterPath(key: string): string {
  return key.replace(/[./]/g, (c) => (c === "." ? "/" : "."));
}
