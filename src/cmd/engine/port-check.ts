/** Whether ports can be published: CNI's portmap takes a port twice without a word, and then one of the two gets no connections. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { containersClient } from "../../client/containers.ts";
import { namespacesClient } from "../../client/namespaces.ts";
import { tasksClient } from "../../client/tasks.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Transport } from "../../rpc/types.ts";
import { PORTS } from "./labels.ts";
import { nameOf } from "./lookup.ts";
import { formatPort, type PortMapping, parsePorts } from "./ports.ts";

/**
 * @param id the container that wants the ports
 * @throws failed-precondition when a running container of any namespace, or a program of this machine, has one of them
 */
export async function checkPorts(
  transport: Transport,
  call: NamespacedCall,
  id: string,
  ports: readonly PortMapping[],
): Promise<void> {
  if (ports.length === 0) return;
  const containers = containersClient(transport);
  for (const { name } of await namespacesClient(transport).list(call)) {
    const there = call.in(parseNamespace(name));
    const [others, tasks] = await Promise.all([
      containers.list(there, [`labels."${PORTS}"`]),
      tasksClient(transport).list(there),
    ]);
    const live = new Set(tasks.filter((t) => t.status !== "stopped").map((t) => t.containerId));
    for (const other of others) {
      if (other.id === id || !live.has(other.id)) continue;
      const theirs = (other.labels.get(PORTS) ?? "").split(",").flatMap(parsePorts);
      const clash = ports.find((p) => theirs.some((t) => overlaps(p, t)));
      if (clash === undefined) continue;
      const where = name === call.namespace ? "" : ` in namespace "${name}"`;
      throw failedPrecondition(
        `publish port ${formatPort(clash)}: container "${nameOf(other)}"${where} has it`,
        {
          hint: `stop that one (gantry${where === "" ? "" : ` -n ${name}`} stop ${nameOf(other)}), or publish another port`,
        },
      );
    }
  }
  for (const port of ports) await probe(port);
}

/** Both want the same port of the same address. */
function overlaps(a: PortMapping, b: PortMapping): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false;
  const any = (ip: string | undefined): boolean => ip === undefined || ip === "0.0.0.0" || ip === "::";
  return any(a.hostIP) || any(b.hostIP) || a.hostIP === b.hostIP;
}

/** Takes the port for a moment. Other failures (an address that comes later, no right to the port) are left to the start. */
async function probe(port: PortMapping): Promise<void> {
  const host = port.hostIP ?? "0.0.0.0";
  const code = await new Promise<string>((resolve) => {
    const failed = (err: NodeJS.ErrnoException): void => resolve(err.code ?? "");
    if (port.protocol === "tcp") {
      const server = createServer().once("error", failed);
      server.listen({ port: port.hostPort, host, exclusive: true }, () => server.close(() => resolve("")));
    } else if (port.protocol === "udp") {
      const socket = createSocket(host.includes(":") ? "udp6" : "udp4").once("error", failed);
      socket.bind({ port: port.hostPort, address: host, exclusive: true }, () =>
        socket.close(() => resolve("")),
      );
    } else resolve("");
  });
  if (code !== "EADDRINUSE") return;
  throw failedPrecondition(`publish port ${formatPort(port)}: a program of this machine listens there`, {
    hint: `"ss -lnp sport = ${port.hostPort}" names it; stop it, or publish another port`,
  });
}
