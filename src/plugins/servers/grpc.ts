/** The gRPC server on the API socket: serves every gRPC service that started. */
import { defineKind, definePlugin } from "../../core/plugin/plugin.ts";
import type { RpcServer } from "../../rpc/types.ts";
import { API_PARTS, createApiServer, GRACE_MS } from "./api-server.ts";
import { parseSocketConfig, socketDefaults } from "./socket.ts";

/** Servers of the daemon. */
export const SERVER = defineKind<RpcServer>("io.containerd.server.v1");

export default definePlugin({
  kind: SERVER,
  id: "grpc",
  requires: API_PARTS,
  config: {
    defaults: { ...socketDefaults, max_recv_message_size: 16 << 20, max_send_message_size: 16 << 20 },
    parse: parseSocketConfig,
  },
  onFailure: "fatal",
  async init(host, deps, config) {
    const limits = { maxReceive: config.maxReceive, maxSend: config.maxSend };
    const server = await createApiServer(host, deps, limits);
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
