/** port-forward. */
import { createServer, type Server, type Socket } from "node:net";
import { invalidArgument, messageOf, unavailable, wrap } from "../../../core/errors.ts";
import { createDeferred } from "../../../lib/deferred.ts";
import { interrupted } from "../../shared/interrupt.ts";
import type { Action } from "../command.ts";
import { text } from "../options.ts";
import { join, openForwarder, type PodForwarder } from "../streaming/forward.ts";
import { transportName } from "../streaming/open.ts";
import { tlsOf, withoutToken } from "./exec.ts";

/** A local port, 0 for any, and the pod's. */
export interface PortPair {
  readonly local: number;
  readonly remote: number;
}

/** `8080:80`, `80`, `:80`. @throws invalid-argument */
export function parsePorts(spec: string): PortPair {
  const match = /^(?:(\d*):)?(\d+)$/.exec(spec);
  const remote = Number(match?.[2] ?? 0);
  const local = match?.[1] === undefined ? remote : Number(match[1]);
  if (match === null || remote < 1 || remote > 65_535 || local > 65_535)
    throw invalidArgument(`ports "${spec}": not [LOCAL_PORT:]REMOTE_PORT`, {
      hint: "for example 8080:80, 80, or :80",
    });
  return { local, remote };
}

export const portForward: Action = async (context, args, options) => {
  await using cri = context;
  const [podSandboxId = "", ...specs] = args;
  if (podSandboxId === "" || specs.length === 0)
    throw invalidArgument("a pod and ports are needed", { hint: "crictl port-forward POD-ID 8080:80" });
  const pairs = specs.map(parsePorts);
  const transport = transportName(text(options, "transport"));
  const tls = tlsOf(options);
  const runtime = await cri.runtime();
  const all = pairs.map((pair) => pair.remote);
  const urlOf = async (only?: number): Promise<string> => {
    const port = only === undefined ? all : [only];
    const { url } = await runtime.portForward({ podSandboxId, port }, cri.options());
    cri.debug(() => `port-forward url: ${withoutToken(url)}`);
    return url;
  };
  const servers: Server[] = [];
  try {
    const forwarder = await openForwarder(urlOf, transport, tls);
    try {
      for (const pair of pairs) servers.push(...(await listen(pair, forwarder)));
      const stopped = createDeferred<void>();
      const signal = interrupted();
      if (signal.aborted) stopped.resolve();
      signal.addEventListener("abort", () => stopped.resolve(), { once: true });
      await Promise.race([stopped.promise, forwarder.lost]);
      return 0;
    } finally {
      for (const server of servers) server.close();
      await forwarder.end();
    }
  } catch (err) {
    throw wrap(err, "port forward");
  }
};

/** Listens on both loopback addresses; one of them is enough. @throws unavailable */
async function listen({ local, remote }: PortPair, forwarder: PodForwarder): Promise<Server[]> {
  const servers: Server[] = [];
  const failed: string[] = [];
  let port = local;
  for (const host of ["127.0.0.1", "::1"]) {
    const server = createServer(
      { allowHalfOpen: true },
      (socket) => void handle(socket, port, remote, forwarder),
    );
    const ready = createDeferred<void>();
    server.once("error", (err) => ready.reject(err));
    server.listen({ host, port }, () => ready.resolve());
    try {
      await ready.promise;
    } catch (err) {
      failed.push(messageOf(err));
      continue;
    }
    const address = server.address();
    if (address !== null && typeof address === "object") port = address.port;
    process.stdout.write(`Forwarding from ${host.includes(":") ? `[${host}]` : host}:${port} -> ${remote}\n`);
    servers.push(server);
  }
  if (servers.length > 0) return servers;
  throw unavailable(`unable to listen on port ${local}: ${failed.join("; ")}`, {
    hint: `use another local port, such as :${remote} for any free one`,
  });
}

async function handle(socket: Socket, port: number, remote: number, forwarder: PodForwarder): Promise<void> {
  process.stdout.write(`Handling connection for ${port}\n`);
  socket.on("error", () => {});
  socket.setNoDelay(true);
  try {
    const problem = await join(
      {
        read: () => socket as AsyncIterable<Uint8Array>,
        write: (chunk) =>
          new Promise((resolve, reject) => {
            socket.write(chunk, (err) => (err ? reject(err) : resolve()));
          }),
        end: () => void socket.end(),
      },
      await forwarder.open(remote),
    );
    if (problem !== "")
      process.stderr.write(`crictl: an error occurred forwarding ${port} -> ${remote}: ${problem.trim()}\n`);
  } catch (err) {
    process.stderr.write(`crictl: error creating stream for port ${port} -> ${remote}: ${messageOf(err)}\n`);
  } finally {
    socket.destroySoon();
  }
}
