/** `-p [IP:]HOST:CONTAINER[/PROTOCOL]`, ranges included. */
import { isIP } from "node:net";
import { invalidArgument } from "../../core/errors.ts";

/** One published port, as CNI's portmap plugin takes it. */
export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly hostIP?: string;
}

/** Most ports of one flag. */
const MOST = 1024;

/** @throws invalid-argument */
export function parsePorts(text: string): PortMapping[] {
  const bad = (why: string): never => {
    throw invalidArgument(`port "${text}": ${why}`, {
      hint: "use HOST:CONTAINER, IP:HOST:CONTAINER, with /udp at the end where needed: -p 8080:80",
    });
  };
  const match =
    /^(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?([0-9]+(?:-[0-9]+)?):([0-9]+(?:-[0-9]+)?)(?:\/(tcp|udp|sctp))?$/.exec(
      text,
    );
  if (match === null) return bad("not a port mapping");
  const [, ip, host = "", inside = "", protocol = "tcp"] = match;
  const hostIP = ip?.replace(/^\[|\]$/g, "");
  if (hostIP !== undefined && isIP(hostIP) === 0) return bad(`"${hostIP}" is not an address`);
  const from = range(host);
  const to = range(inside);
  if (from === undefined || to === undefined) return bad("ports are numbers from 1 to 65535");
  if (from.length !== to.length) return bad("both ranges must have the same length");
  if (from.length > MOST) return bad(`more than ${MOST} ports`);
  return from.map((hostPort, i) => ({
    hostPort,
    containerPort: to[i] ?? 0,
    protocol: protocol as PortMapping["protocol"],
    ...(hostIP === undefined ? {} : { hostIP }),
  }));
}

function range(text: string): number[] | undefined {
  const [first = 0, last = first] = text.split("-").map(Number);
  if (!(first >= 1 && last <= 65_535 && first <= last)) return undefined;
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** One mapping as the flag writes it. */
export function formatPort(p: PortMapping): string {
  const ip = p.hostIP === undefined ? "" : p.hostIP.includes(":") ? `[${p.hostIP}]:` : `${p.hostIP}:`;
  return `${ip}${p.hostPort}:${p.containerPort}/${p.protocol}`;
}
