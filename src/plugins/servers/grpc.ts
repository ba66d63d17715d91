/** The gRPC server on the API socket: serves every gRPC service that started. */
import { TRACER } from "../../core/plugin/own-kinds.ts";
import { all, defineKind, definePlugin, one, optional } from "../../core/plugin/plugin.ts";
import { createGrpcServer } from "../../rpc/grpc/server.ts";
import { errorInterceptor } from "../../rpc/interceptors/errors.ts";
import { logInterceptor } from "../../rpc/interceptors/log.ts";
import { GRPC_SERVICE, RPC_METRICS } from "../../rpc/kinds.ts";
import type { RpcServer } from "../../rpc/types.ts";
import { parseSocketConfig, socketDefaults } from "./socket.ts";
import { tracing } from "./tracing.ts";

/** Servers of the daemon. */
export const SERVER = defineKind<RpcServer>("io.containerd.server.v1");

/** Time running calls get when the daemon stops: short ones end, waits and streams would not. Milliseconds. */
const GRACE_MS = 1_000;

export default definePlugin({
  kind: SERVER,
  id: "grpc",
  requires: { services: all(GRPC_SERVICE), rpc: one(RPC_METRICS), tracer: optional(TRACER, "tracing") },
  config: {
    defaults: { ...socketDefaults, max_recv_message_size: 16 << 20, max_send_message_size: 16 << 20 },
    parse: parseSocketConfig,
  },
  onFailure: "fatal",
  async init(host, deps, config) {
    const services = [...deps.services.values()].flatMap((s) => [s, ...(s.more ?? [])]);
    deps.rpc.metrics.register(services);
    const server = createGrpcServer({
      services,
      interceptors: [
        ...(await tracing(host.daemon, "grpc", deps.tracer)),
        logInterceptor,
        deps.rpc.metrics.interceptor,
        errorInterceptor,
      ],
      limits: { maxReceive: config.maxReceive, maxSend: config.maxSend },
      call: host.call,
    });
    host.describe({ exports: { address: config.address } });
    // the socket opens when every plugin is up: a client never sees half an API
    host.onServe(async () => {
      await server.listen({ path: config.address, mode: 0o660, uid: config.uid, gid: config.gid });
      host.log.info("serving...", { address: config.address });
    });
    host.onStop(() => server.drain(GRACE_MS));
    return server;
  },
});
