import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Version } from "../api/gen/containerd/services/version/v1/version_pb.ts";
import { isBun } from "../platform/runtime.ts";
import { createClient } from "./client.ts";
import { createGrpcServer } from "./grpc/server.ts";
import { createGrpcTransport } from "./grpc/transport.ts";
import { createTtrpcServer } from "./ttrpc/server.ts";
import { createTtrpcTransport } from "./ttrpc/transport.ts";
import { bindService } from "./types.ts";

const kinds = [
  ["grpc", createGrpcServer, createGrpcTransport],
  ["ttrpc", createTtrpcServer, createTtrpcTransport],
] as const;

for (const [name, makeServer, makeTransport] of kinds) {
  test(`${name}: a handler knows who called over a unix socket`, {
    skip: isBun ? false : "node:net does not tell",
  }, async () => {
    const dir = mkdtempSync(join(tmpdir(), "gantry-peer-"));
    const path = join(dir, "s");
    let pid: number | undefined;
    const server = makeServer({
      services: [
        bindService(Version, {
          version(_request, context) {
            pid = context.peer?.pid;
            return {};
          },
        }),
      ],
    });
    await server.listen({ path });
    await using transport = makeTransport({ path });
    await createClient(Version, transport).version({});
    assert.equal(pid, process.pid);
    await server.close();
    rmSync(dir, { recursive: true });
  });
}
