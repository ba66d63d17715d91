/** The ttrpc server beside the API socket: shims forward their events here. */
import { TRACER } from "../../core/plugin/own-kinds.ts";
import { all, definePlugin, optional } from "../../core/plugin/plugin.ts";
import { TTRPC_SERVICE } from "../../rpc/kinds.ts";
import { createTtrpcServer } from "../../rpc/ttrpc/server.ts";
import { SERVER } from "./grpc.ts";
import { parseSocketConfig, socketDefaults } from "./socket.ts";
import { tracing } from "./tracing.ts";

export default definePlugin({
  kind: SERVER,
  id: "ttrpc",
  requires: { services: all(TTRPC_SERVICE), tracer: optional(TRACER, "tracing") },
  config: { defaults: socketDefaults, parse: parseSocketConfig },
  onFailure: "fatal",
  async init(host, deps, config) {
    const server = createTtrpcServer({
      services: [...deps.services.values()],
      interceptors: await tracing(host.daemon, "ttrpc", deps.tracer),
      call: host.call,
    });
    host.describe({ exports: { address: config.address } });
    host.onServe(async () => {
      await server.listen({ path: config.address, mode: 0o660, uid: config.uid, gid: config.gid });
      host.log.info("serving...", { address: config.address });
    });
    host.onStop(() => server.close());
    return server;
  },
});
