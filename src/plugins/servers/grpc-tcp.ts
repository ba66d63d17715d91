/** The gRPC API on a TCP address, off unless one is configured. Whoever reaches it is root: give it TLS and a CA for its clients. */
import { readFileSync } from "node:fs";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { definePlugin } from "../../core/plugin/plugin.ts";
import type { RpcServer, ServerTls } from "../../rpc/types.ts";
import { API_PARTS, createApiServer, GRACE_MS } from "./api-server.ts";
import { SERVER } from "./grpc.ts";

interface TcpConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: ServerTls | undefined;
  readonly maxReceive: number;
  readonly maxSend: number;
}

export default definePlugin({
  kind: SERVER,
  id: "grpc-tcp",
  requires: API_PARTS,
  config: {
    defaults: {
      address: "",
      tls_ca: "",
      tls_cert: "",
      tls_key: "",
      tls_common_name: "",
      max_recv_message_size: 16 << 20,
      max_send_message_size: 16 << 20,
    },
    parse: parseTcp,
  },
  onFailure: "optional",
  async init(host, deps, config): Promise<RpcServer> {
    const limits =
      config === undefined ? undefined : { maxReceive: config.maxReceive, maxSend: config.maxSend };
    const server = await createApiServer(host, deps, limits);
    if (config === undefined) return server;
    const loopback = /^(localhost|127\.|::1$)/.test(config.host);
    if (config.tls?.ca === undefined && !loopback)
      host.log.warn(
        "the API is served on TCP to clients without certificates: whoever reaches it is root here",
        {
          address: `${config.host}:${config.port}`,
        },
      );
    host.onServe(async () => {
      const { port } = await server.listen({ host: config.host, port: config.port, tls: config.tls });
      host.log.info("serving...", { address: `${config.host}:${port ?? config.port}` });
    });
    host.onStop(() => server.drain(GRACE_MS));
    return server;
  },
});

/** @throws invalid-argument naming the key */
function parseTcp(table: Readonly<Record<string, unknown>>): TcpConfig | undefined {
  const text = (key: string): string => {
    const value = table[key] ?? "";
    if (typeof value !== "string") throw invalidArgument(`${key}: want a string`);
    return value;
  };
  const size = (key: string): number => {
    const value = table[key];
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0)
      throw invalidArgument(`${key}: want a number of bytes`);
    return value === 0 ? 16 << 20 : value;
  };
  const address = text("address");
  if (address === "") return undefined;
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]*)):([0-9]{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw invalidArgument(`address "${address}": use host:port, such as 127.0.0.1:2376`);
  const [cert, key, ca, commonName] = ["tls_cert", "tls_key", "tls_ca", "tls_common_name"].map(text);
  if ((cert === "") !== (key === "")) throw invalidArgument("tls_cert and tls_key belong together");
  if (cert === "" && (ca !== "" || commonName !== ""))
    throw invalidArgument("tls_ca and tls_common_name need tls_cert and tls_key");
  if (commonName !== "" && ca === "") throw invalidArgument("tls_common_name needs tls_ca");
  return {
    host: match[1] ?? (match[2] === "" ? "0.0.0.0" : (match[2] ?? "")),
    port,
    tls:
      cert === "" || cert === undefined || key === undefined
        ? undefined
        : {
            cert: pem("tls_cert", cert),
            key: pem("tls_key", key),
            ...(ca === "" || ca === undefined ? {} : { ca: pem("tls_ca", ca) }),
            ...(commonName === "" ? {} : { commonName }),
          },
    maxReceive: size("max_recv_message_size"),
    maxSend: size("max_send_message_size"),
  };
}

function pem(key: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (err) {
    throw invalidArgument(`${key} "${path}": ${messageOf(err)}`, { cause: err });
  }
}
