/** Serves the snapshotter: `main.ts SOCKET FOLDER [READY-LAYERS]`. See README.md. */
import { rmSync } from "node:fs";
import { parseNamespace } from "../../../src/core/ids/namespace.ts";
import { createGrpcServer } from "../../../src/rpc/grpc/server.ts";
import { snapshotsService } from "../../../src/services/snapshots.ts";
import { CopyingSnapshotter } from "./copying.ts";

const [socket, folder, remote] = process.argv.slice(2);
if (socket === undefined || folder === undefined) {
  process.stderr.write("usage: main.ts SOCKET FOLDER [READY-LAYERS]\n");
  process.exit(1);
}
const snapshotter = new CopyingSnapshotter(folder, remote);
// one socket, one snapshotter, whatever name the engine's configuration gave it; containerd names no namespace
const service = snapshotsService(() => snapshotter, parseNamespace("default"));
const server = createGrpcServer({ services: [service] });
rmSync(socket, { force: true });
await server.listen({ path: socket, mode: 0o600 });
process.stdout.write(`serving on ${socket}\n`);
for (const signal of ["SIGTERM", "SIGINT"] as const)
  process.once(signal, () => void server.drain(3_000).then(() => process.exit(0)));
