/**
 * Every method of every service of a real daemon, CRI's among them, called with what a hostile or broken client may send: messages
 * that follow the descriptors badly (fuzz/messages.ts), in random order, with and without namespace. The daemon must live, and no
 * answer may be a fault of the program in disguise. GANTRY_FUZZ_CALLS and GANTRY_FUZZ_SEED make it longer and another one.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { loadGenerated } from "../../scripts/lib/api-golden.ts";
import { Controller } from "../../src/api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Transport } from "../../src/rpc/types.ts";
import { CriBed, cannotRun } from "../integration/cri-bed.ts";
import { fuzzCall, isDefect, type Outcome } from "./fuzz/calls.ts";
import { Random } from "./fuzz/random.ts";
import { ENDS, endLeftovers, makeWorld, WAITS } from "./fuzz/world.ts";

const CALLS = Number(process.env["GANTRY_FUZZ_CALLS"] ?? 1200);
const SEED = Number(process.env["GANTRY_FUZZ_SEED"] ?? 1);
/** Calls that run at once. */
const WORKERS = 8;
/** Services of the socket; the others are the shims', NRI's and exporters'. */
const OTHERS = /ttrpc|nri\.|opentelemetry|\.Task$|runtime\.sandbox/;

describe("a fuzzed daemon", { skip: cannotRun }, () => {
  let bed: CriBed;
  let transport: Transport;
  before(async () => {
    bed = await CriBed.start();
    transport = createGrpcTransport({ path: bed.address });
  });
  after(async () => {
    await transport?.close();
    await bed?.[Symbol.asyncDispose]();
    if (bed !== undefined) await endLeftovers(bed);
  });

  test("no id of any shape reaches a folder outside", async () => {
    const canary = join(bed.dir, "canary");
    mkdirSync(canary);
    writeFileSync(join(canary, "file"), "here");
    const controller = createClient(Controller, transport);
    const headers = new Map([["containerd-namespace", ["other"]]]);
    const folders = ["io.containerd.sandbox.controller.v1.shim", "io.containerd.runtime.v2.task"];
    const ids = folders.flatMap((name) =>
      ["root", "state"].map((base) => relative(join(bed.dir, base, name, "other"), canary)),
    );
    for (const sandboxId of ["", ".", "..", "a/../..", ...ids]) {
      const made = controller.create({ sandboxId, sandboxer: "shim", sandbox: { sandboxId } }, { headers });
      await assert.rejects(made, (err) => codeOf(err) === "invalid-argument", sandboxId);
      assert.equal(readFileSync(join(canary, "file"), "utf8"), "here", sandboxId);
    }
    assert.ok(existsSync(canary));
    rmSync(canary, { recursive: true });
  });

  test(`${CALLS} calls of all methods: the daemon lives and answers in its own words`, async () => {
    const files = await loadGenerated(join(import.meta.dirname, "../../src/api/gen"));
    const methods = files
      .flatMap((file) => file.services)
      .filter((service) => !OTHERS.test(service.typeName))
      .flatMap((service) => service.methods.map((method) => ({ service, method })));
    const world = await makeWorld(
      bed,
      files.flatMap((file) => file.messages),
    );
    const ours = world.namespace;
    const namespaces = [ours, ours, ours, "k8s.io", `${ours}-2`, "", "../x", "x".repeat(300)];
    const random = new Random(SEED);
    const defects: string[] = [];
    let left = CALLS;
    let answered = 0;
    const worker = async (): Promise<void> => {
      while (left-- > 0) {
        const { service, method } = random.pick(methods);
        const own = new Random(random.next());
        if (ENDS.test(method.name) && !own.oneIn(4)) continue;
        const name = `${service.typeName.split(".").at(-1)}.${method.name}`;
        const headers = new Map([["containerd-namespace", [own.pick(namespaces)]]]);
        if (own.oneIn(12)) headers.clear();
        const pool = { ...world.pool(name), leaveOut: own.pick([2, 4, 12, 40]), broken: own.oneIn(6) };
        const timeoutMs = WAITS.test(name) ? 200 : 60_000;
        const outcome: Outcome = await fuzzCall(transport, service, method, own, pool, {
          timeoutMs,
          headers,
        });
        if (outcome.code === "ok") answered++;
        if (isDefect(outcome) || (outcome.code === "deadline-exceeded" && !WAITS.test(name)))
          defects.push(`${outcome.method}: ${outcome.code}: ${outcome.message.slice(0, 300)}`);
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
    assert.deepEqual(defects, []);
    // the messages are good enough to get somewhere
    assert.ok(answered > CALLS / 20, `${answered} of ${CALLS} calls were carried out`);
    await bed.runtime.version({}, { timeoutMs: 60_000 });
    assert.doesNotMatch(bed.log(), /unhandled|uncaught/i);
  });
});
