/** The metrics server: `/v1/metrics` for Prometheus, `/healthz`. Off unless an address is configured. */
import type { AddressInfo } from "node:net";
import { invalidArgument } from "../../core/errors.ts";
import { defineKind, definePlugin, one } from "../../core/plugin/plugin.ts";
import { RPC_METRICS } from "../../rpc/kinds.ts";

/** The HTTP server; its bound port when it runs. */
export const METRICS_SERVER = defineKind<{ readonly port: () => number | undefined }>(
  "io.containerd.server.v1",
);

export default definePlugin({
  kind: METRICS_SERVER,
  id: "metrics",
  requires: { rpc: one(RPC_METRICS) },
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
    const [{ Hono }, { createAdaptorServer }, { renderMetrics }] = await Promise.all([
      import("hono"),
      import("@hono/node-server"),
      import("./prometheus.ts"),
    ]);
    const app = new Hono();
    app.get("/v1/metrics", (c) =>
      c.text(renderMetrics(deps.rpc.metrics, deps.rpc.histogram, host.daemon), 200, {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
      }),
    );
    app.get("/healthz", (c) => c.text("ok\n"));
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
    });
    return { port: () => port };
  },
});
