/** `[proxy_plugins]` of type sandbox: a controller in this process, behind our daemon's own service. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sandboxControllerClient } from "../../src/client/sandbox-controller.ts";
import { Call } from "../../src/core/call.ts";
import { codeOf, notFound } from "../../src/core/errors.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import type { SandboxController, SandboxInput } from "../../src/core/sandbox/sandbox.ts";
import { createDeferred } from "../../src/lib/deferred.ts";
import { createGrpcServer } from "../../src/rpc/grpc/server.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { sandboxControllerService } from "../../src/services/sandbox-controller.ts";
import { peerCtr, startDaemon } from "../peers/peer.ts";
import { BUN, MAIN } from "./program.ts";

const call = new Call({}).in(parseNamespace("testing"));
const NOW = 1_700_000_000_000_000_000n;

/** Remembers what it was asked. */
class Boxes implements SandboxController {
  readonly asked: string[] = [];
  readonly made = new Map<string, SandboxInput>();
  readonly ended = createDeferred<void>();

  async create(c: typeof call, request: { sandbox: SandboxInput; netns: string }): Promise<void> {
    this.asked.push(`create ${c.namespace} ${request.sandbox.id} ${request.netns}`);
    this.made.set(request.sandbox.id, request.sandbox);
  }
  async start(_call: unknown, id: string) {
    if (!this.made.has(id)) throw notFound(`sandbox "${id}"`);
    this.asked.push(`start ${id}`);
    return { pid: 42, createdAt: NOW, labels: new Map([["a", "b"]]), address: "unix:///x", version: 3 };
  }
  async platform() {
    return { os: "linux", architecture: "riscv64" };
  }
  async stop(_call: unknown, id: string, seconds: number): Promise<void> {
    this.asked.push(`stop ${id} ${seconds}`);
    this.ended.resolve();
  }
  async wait() {
    await this.ended.promise;
    return { status: 7, exitedAt: NOW };
  }
  async status() {
    return { pid: 42, state: "SANDBOX_READY", info: new Map(), createdAt: NOW, address: "", version: 3 };
  }
  async shutdown(_call: unknown, id: string): Promise<void> {
    this.asked.push(`shutdown ${id}`);
  }
  async metrics() {
    return { timestamp: NOW };
  }
  async update(_call: unknown, sandbox: SandboxInput, fields: readonly string[]): Promise<void> {
    this.asked.push(`update ${sandbox.id} ${fields.join()}`);
  }
}

test("sandboxes of a controller in another process; one that hangs fails in time and holds up nobody", async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-boxes-"));
  const boxes = new Boxes();
  const none = { send: () => {} };
  const services = [sandboxControllerService(new Map([["boxes", boxes]]), undefined as never, none as never)];
  const server = createGrpcServer({ services });
  await server.listen({ path: join(dir, "boxes.sock") });
  const hung = createServer(() => {});
  await new Promise<void>((resolve) => hung.listen(join(dir, "hung.sock"), resolve));
  const table = (name: string): string =>
    `[proxy_plugins.${name}]\n  type = "sandbox"\n  address = "${join(dir, name)}.sock"\n  capabilities = ["x"]\n`;
  const timeouts =
    '[timeouts]\n  "gantry.timeout.proxy.change" = "300ms"\n  "gantry.timeout.proxy.read" = "300ms"\n';
  const daemon = await startDaemon({
    command: [BUN, MAIN, "daemon"],
    config: table("boxes") + table("hung") + table("none") + timeouts,
  });
  const transport = createGrpcTransport({ path: daemon.address });
  const sandbox = (id: string, sandboxer: string): SandboxInput => ({
    id,
    runtime: { name: "any" },
    labels: new Map(),
    extensions: new Map(),
    sandboxer,
  });
  const request = (id: string, sandboxer: string) => ({
    sandbox: sandbox(id, sandboxer),
    rootfs: [],
    netns: "/run/netns/n",
    annotations: new Map<string, string>(),
  });
  try {
    const own = sandboxControllerClient(transport, "boxes");
    await own.create(call, request("one", "boxes"));
    const started = await own.start(call, "one");
    assert.deepEqual(
      [started.pid, started.address, started.version, started.createdAt],
      [42, "unix:///x", 3, NOW],
    );
    await assert.rejects(own.start(call, "two"), (err) => codeOf(err) === "not-found");
    assert.equal((await own.platform(call, "one")).architecture, "riscv64");
    assert.equal((await own.status(call, "one", false)).state, "SANDBOX_READY");
    await own.update(call, sandbox("one", "boxes"), ["labels"]);
    const stuck = sandboxControllerClient(transport, "hung").create(call, request("h", "hung"));
    const refused = assert.rejects(stuck, (err) => codeOf(err) === "deadline-exceeded");
    const waiting = own.wait(call, "one");
    await own.stop(call, "one", 3);
    assert.equal((await waiting).status, 7);
    await own.shutdown(call, "one");
    assert.deepEqual(boxes.asked, [
      "create testing one /run/netns/n",
      "start one",
      "update one labels",
      "stop one 3",
      "shutdown one",
    ]);
    await refused;
    await assert.rejects(sandboxControllerClient(transport, "none").status(call, "x", false), /none\.sock/);
    const plugins = peerCtr("1.6", daemon.address)("plugins", "ls").out;
    for (const name of ["boxes", "hung", "none"])
      assert.match(plugins, new RegExp(`sandbox\\.controller\\.v1 +${name} .*ok`));
  } finally {
    await transport.close();
    await daemon.stop();
    await server.close();
    hung.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
