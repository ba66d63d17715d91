/** Serves the Peer service for the Go client: `serve.ts grpc|ttrpc SOCKET`. Prints `ready`; SIGTERM drains. */
import { createGrpcServer } from "../../../src/rpc/grpc/server.ts";
import { createTtrpcServer } from "../../../src/rpc/ttrpc/server.ts";
import { bindPeer } from "./peer-service.ts";

const [kind, path] = process.argv.slice(2);
const services = [bindPeer({ aborted: [], produced: 0, taken: 0 })];
const server = kind === "ttrpc" ? createTtrpcServer({ services }) : createGrpcServer({ services });
await server.listen({ path: path ?? "" });
console.log("ready");
process.on("SIGTERM", async () => {
  await server.drain(5000);
  process.exit(0);
});
