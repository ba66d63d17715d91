/**
 * Every method of every service of a real daemon, CRI's among them, called with what a hostile or broken client may send: messages
 * that follow the descriptors badly (fuzz/messages.ts), in random order, with and without namespace. The daemon must live, and no
 * answer may be a fault of the program in disguise. GANTRY_FUZZ_CALLS and GANTRY_FUZZ_SEED make it longer and another one.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { loadGenerated } from "../../scripts/lib/api-golden.ts";
import { Controller } from "../../src/api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { createTtrpcTransport } from "../../src/rpc/ttrpc/transport.ts";
import type { Transport } from "../../src/rpc/types.ts";
import { testImages } from "../fixtures/images.ts";
import { until } from "../integration/client.ts";
import { BUSYBOX, CriBed, cannotRun } from "../integration/cri-bed.ts";
import { ourBin } from "../integration/program.ts";
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

  test("a shim's own socket: garbage, forged frames and fuzzed calls leave the container running", async () => {
    const namespace = `shim-${bed.tag}`;
    const ctr = (...args: string[]): string => {
      const done = spawnSync(join(ourBin(), "ctr"), ["-a", bed.address, "-n", namespace, ...args], {
        encoding: "utf8",
        timeout: 60_000,
      });
      assert.equal(done.status, 0, `ctr ${args.join(" ")}: ${done.stderr}`);
      return done.stdout;
    };
    ctr("images", "import", testImages().archive("busybox"));
    ctr("run", "-d", BUSYBOX, "one", "sleep", "100000");
    const bundle = join(bed.dir, "state/io.containerd.runtime.v2.task", namespace, "one");
    const { address } = JSON.parse(readFileSync(join(bundle, "bootstrap.json"), "utf8")) as {
      address: string;
    };
    const path = address.replace(/^unix:\/\//, "");
    const random = new Random(SEED);

    for (let i = 0; i < 40; i++) {
      const socket = connect({ path });
      socket.on("error", () => {});
      const head = Buffer.alloc(10);
      head.writeUInt32BE(random.pick([0, 5, 4 << 20, 0x7fffffff, 0xffffffff]), 0);
      head.writeUInt32BE(random.pick([0, 1, 2, 0xffffffff]), 4);
      head[8] = random.below(5);
      head[9] = random.below(8);
      socket.end(random.oneIn(3) ? random.bytes(200) : Buffer.concat([head, random.bytes(random.below(64))]));
      socket.resume();
      await once(socket, "close");
    }

    const files = await loadGenerated(join(import.meta.dirname, "../../src/api/gen"));
    const services = files
      .flatMap((file) => file.services)
      .filter((service) => /\.Task$|runtime\.sandbox/.test(service.typeName));
    const methods = services.flatMap((service) => service.methods.map((method) => ({ service, method })));
    const shim = createTtrpcTransport({ path });
    const types = files.flatMap((file) => file.messages);
    const known = ["one", "two", namespace, bundle];
    const fields = {
      id: ["one", "one", "two"],
      exec_id: ["", "e1"],
      stdin: [""],
      stdout: [""],
      bundle: [bundle, ""],
    };
    const defects: string[] = [];
    try {
      for (let i = 0; i < CALLS / 4; i++) {
        const { service, method } = random.pick(methods);
        // what ends a container by right
        if (/Kill|Delete|Shutdown|Stop/.test(method.name)) continue;
        const pool = { known, types, fields, leaveOut: random.pick([2, 4, 12]), broken: random.oneIn(6) };
        const waits = /Wait/.test(method.name);
        const outcome = await fuzzCall(shim, service, method, random, pool, {
          timeoutMs: waits ? 50 : 60_000,
        });
        if (isDefect(outcome) || (outcome.code === "deadline-exceeded" && !waits))
          defects.push(`${outcome.method}: ${outcome.code}: ${outcome.message.slice(0, 300)}`);
      }
    } finally {
      await shim.close();
    }
    assert.deepEqual(defects, []);
    spawnSync(join(ourBin(), "ctr"), ["-a", bed.address, "-n", namespace, "tasks", "resume", "one"]);
    assert.match(ctr("tasks", "ls"), /one\s+\d+\s+RUNNING/);
    ctr("tasks", "kill", "-s", "KILL", "one");
    await until("its end", () => /one\s+\d+\s+STOPPED/.test(ctr("tasks", "ls")));
    ctr("tasks", "delete", "one");
    ctr("containers", "rm", "one");
  });
});
