/** Kernel parameters of a pod. */
import type { PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { HostFacts, SpecSettings } from "./input.ts";

const UNPRIVILEGED_PORTS = "net.ipv4.ip_unprivileged_port_start";
const PING_GROUPS = "net.ipv4.ping_group_range";

/** Parameters that are the IPC namespace's, besides `fs.mqueue.*`. */
const IPC = /^kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)$/;

/** Parts with dots between; a slash in a part stands for a dot in a name, such as that of an interface. Neither makes "..". */
const NAME = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_:@-]+(?:\/[A-Za-z0-9_:@-]+)*)+$/;

/** What decides which parameters are a pod's own. */
export interface SysctlFacts {
  readonly settings: Pick<SpecSettings, "enableUnprivilegedPorts" | "enableUnprivilegedIcmp">;
  readonly host: Pick<HostFacts, "inUserNamespace">;
  readonly hostNetwork: boolean;
  readonly hostIpc: boolean;
  /** The pod has a user namespace of its own. */
  readonly userns: boolean;
}

/**
 * Parameters of the request, and those that let programs without privileges open low ports and ping.
 * @throws invalid-argument for a key or value that could name another parameter, or one that is the node's (S31)
 */
export function podSysctls(config: PodSandboxConfig, facts: SysctlFacts): Record<string, string> {
  const out: Record<string, string> = {};
  const { settings } = facts;
  if (!facts.hostNetwork) {
    if (settings.enableUnprivilegedPorts) out[UNPRIVILEGED_PORTS] = "0";
    if (settings.enableUnprivilegedIcmp && !facts.host.inUserNamespace && !facts.userns)
      out[PING_GROUPS] = "0 2147483647";
  }
  for (const [given, value] of Object.entries(config.linux?.sysctls ?? {})) {
    const key = dotted(given);
    check(key, value, facts);
    out[key] = value;
  }
  return out;
}

/** "net/ipv4/conf/eth0.1/x" is the same as "net.ipv4.conf.eth0/1.x": whichever comes first separates. */
function dotted(key: string): string {
  const [first] = /[./]/.exec(key) ?? [];
  if (first !== "/") return key;
  return key.replace(/[./]/g, (c) => (c === "/" ? "." : "/"));
}

function check(key: string, value: string, facts: SysctlFacts): void {
  if (!NAME.test(key)) throw invalidArgument(`sysctl "${key}": not a usable name`);
  if (/[\0\n\r+=]/.test(value))
    throw invalidArgument(`sysctl "${key}": the value contains a forbidden character`);
  if (key.startsWith("net.")) {
    if (facts.hostNetwork) throw invalidArgument(`sysctl "${key}": not allowed with the host's network`);
    return;
  }
  if (key.startsWith("fs.mqueue.") || IPC.test(key)) {
    if (facts.hostIpc) throw invalidArgument(`sysctl "${key}": not allowed with the host's IPC`);
    return;
  }
  // names of the UTS namespace; the pod's own, unless it is on the host's network
  if ((key === "kernel.domainname" || key === "kernel.hostname") && !facts.hostNetwork) return;
  throw invalidArgument(`sysctl "${key}": is not separate for each pod`);
}
