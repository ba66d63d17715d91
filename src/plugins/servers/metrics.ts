/** The metrics server: `/v1/metrics` for Prometheus, `/healthz`, `/readyz`, the status page. Off unless an address is configured. */
import type { AddressInfo } from "node:net";
import { invalidArgument } from "../../core/errors.ts";
import { EVENTS, METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { INTROSPECTION } from "../../core/plugin/own-kinds.ts";
import { defineKind, definePlugin, one } from "../../core/plugin/plugin.ts";
import { RPC_METRICS } from "../../rpc/kinds.ts";

/** The HTTP server; its bound port when it runs. */
export const METRICS_SERVER = defineKind<{ readonly port: () => number | undefined }>(
  "io.containerd.server.v1",
);

export default definePlugin({
  kind: METRICS_SERVER,
  id: "metrics",
  requires: {
    rpc: one(RPC_METRICS),
    introspection: one(INTROSPECTION),
    metadata: one(METADATA),
    tasks: one(RUNTIME, "task"),
    events: one(EVENTS),
  },
  config: {
    defaults: { address: "" },
    parse(table): { host: string; port: number } | undefined {
      const address = String(table["address"] ?? "");
      if (address === "") return undefined;
      const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]*)):([0-9]{1,5})$/.exec(address);
      const port = Number(match?.[3]);
      if (match === null || port > 65_535)
        throw invalidArgument(`address "${address}": use host:port, such as 127.0.0.1:1338`);
      return { host: match[1] ?? (match[2] === "" ? "0.0.0.0" : (match[2] ?? "")), port };
    },
  },
  onFailure: "optional",
  async init(host, deps, config) {
    if (config === undefined) return { port: () => undefined };
    const [{ httpApp }, { createAdaptorServer }] = await Promise.all([
      import("./http-app.ts"),
      import("@hono/node-server"),
    ]);
    const app = httpApp({
      call: host.call,
      daemon: host.daemon,
      metrics: host.metrics,
      introspection: deps.introspection,
      metadata: deps.metadata,
      tasks: deps.tasks,
      events: deps.events,
      rpc: deps.rpc.metrics,
      histogram: deps.rpc.histogram,
    });
    const server = createAdaptorServer({ fetch: app.fetch });
    let port: number | undefined;
    host.onServe(async () => {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(config.port, config.host, resolve);
      });
      port = (server.address() as AddressInfo).port;
      host.log.info("serving metrics...", { address: `${config.host}:${port}` });
    });
    host.onStop(async () => {
      server.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
    });
    return { port: () => port };
  },
});
