/** What plugins that want it are told of a pod: port mappings, bandwidth, DNS, cgroup, annotations. */
import type { PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { JsonObject } from "./conflist.ts";

const PROTOCOLS = ["tcp", "udp", "sctp"] as const;
const INGRESS = "kubernetes.io/ingress-bandwidth";
const EGRESS = "kubernetes.io/egress-bandwidth";
/** Burst of the bandwidth plugin in bits: as much as it takes. */
const BURST = 2 ** 31 - 1;
/** What Kubernetes allows; bits per second. */
const LEAST_RATE = 1_000n;
const MOST_RATE = 1_000_000_000_000_000n;

/** Values by capability. @throws invalid-argument (bandwidth) */
export function podCapabilities(config: PodSandboxConfig): JsonObject {
  const out: Record<string, unknown> = {};
  const ports = config.portMappings
    .filter((p) => p.hostPort > 0)
    .map((p) => ({
      hostPort: p.hostPort,
      containerPort: p.containerPort,
      protocol: PROTOCOLS[p.protocol as number] ?? "tcp",
      hostIP: p.hostIp,
    }));
  if (ports.length > 0) out["portMappings"] = ports;
  const bandwidth = bandwidthOf(config.annotations);
  if (bandwidth !== undefined) out["bandwidth"] = bandwidth;
  const dns = config.dnsConfig;
  if (dns !== undefined) out["dns"] = { servers: dns.servers, searches: dns.searches, options: dns.options };
  const parent = config.linux?.cgroupParent ?? "";
  if (parent !== "") out["cgroupPath"] = parent;
  if (Object.keys(config.annotations).length > 0)
    out["io.kubernetes.cri.pod-annotations"] = { ...config.annotations };
  return out;
}

function bandwidthOf(annotations: Readonly<Record<string, string>>): JsonObject | undefined {
  const rate = (key: string): number | undefined => {
    const text = annotations[key];
    if (text === undefined) return undefined;
    const value = quantity(text);
    if (value === undefined || value < LEAST_RATE || value > MOST_RATE)
      throw invalidArgument(`annotation ${key} "${text}": want a rate from 1k to 1P`);
    return Number(value);
  };
  const ingress = rate(INGRESS);
  const egress = rate(EGRESS);
  if (ingress === undefined && egress === undefined) return undefined;
  return {
    ...(ingress === undefined ? {} : { ingressRate: ingress, ingressBurst: BURST }),
    ...(egress === undefined ? {} : { egressRate: egress, egressBurst: BURST }),
  };
}

const UNITS: Readonly<Record<string, bigint>> = {
  "": 1n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  E: 10n ** 18n,
  Ki: 2n ** 10n,
  Mi: 2n ** 20n,
  Gi: 2n ** 30n,
  Ti: 2n ** 40n,
  Pi: 2n ** 50n,
  Ei: 2n ** 60n,
};

/** A whole amount in Kubernetes' notation, rounded up; undefined when it is none. */
export function quantity(text: string): bigint | undefined {
  const match = /^(\d{1,20})(?:\.(\d{0,9}))?([kMGTPE]|[KMGTPE]i)?$/.exec(text);
  const unit = UNITS[match?.[3] ?? ""];
  if (match === null || unit === undefined) return undefined;
  const fraction = match[2] ?? "";
  const scale = 10n ** BigInt(fraction.length);
  return (BigInt(`${match[1]}${fraction}`) * unit + scale - 1n) / scale;
}
