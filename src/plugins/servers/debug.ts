/** The debug socket: profiles, dumps and figures of the daemon, off unless an address is configured. Root only. */
import { chmodSync, chownSync, rmSync } from "node:fs";
import { invalidArgument } from "../../core/errors.ts";
import { defineKind, definePlugin, one } from "../../core/plugin/plugin.ts";
import { RPC_METRICS } from "../../rpc/kinds.ts";
import { parseSocketConfig, socketDefaults } from "./socket.ts";

/** The debug server. */
export const DEBUG_SERVER = defineKind<object>("io.containerd.server.v1");

/** Longest CPU profile. Seconds. */
const MAX_PROFILE_S = 300;

export default definePlugin({
  kind: DEBUG_SERVER,
  id: "debug",
  requires: { rpc: one(RPC_METRICS) },
  config: {
    defaults: socketDefaults,
    parse: (table) => (String(table["address"] ?? "") === "" ? undefined : parseSocketConfig(table)),
  },
  onFailure: "optional",
  async init(host, deps, config) {
    if (config === undefined) return {};
    const [{ Hono }, { createAdaptorServer }] = await Promise.all([
      import("hono"),
      import("@hono/node-server"),
    ]);
    const app = new Hono();
    let profiling = false;
    app.get("/debug/pprof/profile", async (c) => {
      const seconds = Number(c.req.query("seconds") ?? "30");
      if (!(seconds > 0 && seconds <= MAX_PROFILE_S))
        return c.text(`seconds: a number up to ${MAX_PROFILE_S}\n`, 400);
      if (profiling) return c.text("a profile is being taken; try again when it is done\n", 409);
      profiling = true;
      try {
        const { cpuProfile } = await import("./profile.ts");
        return c.body(await cpuProfile(seconds), 200, { "content-type": "application/json" });
      } finally {
        profiling = false;
      }
    });
    app.get("/debug/pprof/heap", async (c) => {
      const { getHeapSnapshot } = await import("node:v8");
      const chunks: Buffer[] = [];
      for await (const chunk of getHeapSnapshot()) chunks.push(Buffer.from(chunk as Uint8Array));
      return c.body(Buffer.concat(chunks), 200, { "content-type": "application/json" });
    });
    // what Go calls goroutines are calls here: what runs, and since when
    app.get("/debug/pprof/goroutine", (c) => c.text(openCalls(deps.rpc.metrics.open())));
    app.get("/debug/vars", (c) =>
      c.json({ memory: process.memoryUsage(), cpu: process.cpuUsage(), uptime: process.uptime() }),
    );
    app.get("/debug/pprof/:name", (c) =>
      c.text(
        `${c.req.param("name")}: this runtime has no such profile; there are profile, heap and goroutine\n`,
        501,
      ),
    );
    const server = createAdaptorServer({ fetch: app.fetch });
    host.onServe(async () => {
      rmSync(config.address, { force: true });
      await new Promise<void>((resolve, reject) => {
        server.once("error", (err) =>
          reject(invalidArgument(`debug.address "${config.address}"`, { cause: err })),
        );
        server.listen(config.address, resolve);
      });
      chmodSync(config.address, 0o660);
      chownSync(config.address, config.uid, config.gid);
      host.log.info("serving debug...", { address: config.address });
    });
    host.onStop(async () => {
      server.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
      rmSync(config.address, { force: true });
    });
    return {};
  },
});

/** One line for each call that runs, oldest first. */
export function openCalls(
  calls: readonly { method: string; namespace: string; since: number; streaming: boolean }[],
): string {
  const now = performance.now();
  const lines = calls.map(
    (c) =>
      `${((now - c.since) / 1000).toFixed(1)}s ${c.method}${c.streaming ? " (stream)" : ""} namespace=${c.namespace || "none"}\n`,
  );
  return `${calls.length} calls run\n${lines.join("")}`;
}
