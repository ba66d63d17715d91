/** `ctr sandboxes` on records that another client made. Our daemon and our `ctr`; no container runs. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { sandboxesClient } from "../../src/client/sandbox.ts";
import { Call } from "../../src/core/call.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { Engine } from "./engine.ts";

const engine = new Engine("ours");
before(() => engine.start());
after(() => engine.stop());

test("list, info, remove; records outlive the daemon", async () => {
  const ctr = engine.client("ours");
  await using transport = createGrpcTransport({ path: engine.address });
  const call = new Call({}).in(parseNamespace(engine.namespace));
  const input = {
    runtime: { name: "io.containerd.runc.v2" },
    labels: new Map([["app", "web"]]),
    extensions: new Map(),
    sandboxer: "",
  };
  for (const id of ["pod-a", "pod-b"]) await sandboxesClient(transport).create(call, { ...input, id });
  await engine.end("SIGKILL");
  await engine.start();
  const listed = await ctr.ok("sandboxes", "ls");
  assert.match(listed, /^ID +CREATED +RUNTIME/);
  assert.match(listed, /pod-a +\S+ +io\.containerd\.runc\.v2/);
  assert.doesNotMatch(await ctr.ok("sandboxes", "ls", "--filters", "id==pod-b"), /pod-a/);
  const info = JSON.parse(await ctr.ok("sandboxes", "info", "pod-a")) as { ID: string; Labels: unknown };
  assert.deepEqual([info.ID, info.Labels], ["pod-a", { app: "web" }]);
  await ctr.ok("sandboxes", "rm", "pod-a", "pod-b");
  assert.doesNotMatch(await ctr.ok("sandboxes", "ls"), /pod-/);
  const gone = await ctr.run("sandboxes", "rm", "pod-a");
  assert.equal(gone.code, 1);
  assert.match(gone.err, /pod-a.*not found/);
});
