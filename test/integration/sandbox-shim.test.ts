/** Sandboxes that a shim implements: `ctr sandboxes run`, the controller service, events. Our daemon; needs root and runc. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sandboxesClient } from "../../src/client/sandbox.ts";
import { sandboxControllerClient } from "../../src/client/sandbox-controller.ts";
import { Call } from "../../src/core/call.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { peerBin } from "../peers/peer.ts";
import { until } from "./client.ts";
import { type Bed, useBed } from "./suite.ts";
import { alive, parentOf, taskRow } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

const holder = useBed("ours", "ours");
/** A daemon that was started again has other files open. */
const RESTARTED = ["open files of the daemon"];

function config(dir: string): string {
  const path = join(dir, "pod.json");
  writeFileSync(path, JSON.stringify({ ociVersion: "1.1.0", annotations: { of: "a pod" } }));
  return path;
}

async function control<T>(
  { engine }: Bed,
  run: (controller: ReturnType<typeof sandboxControllerClient>, call: ReturnType<Call["in"]>) => Promise<T>,
): Promise<T> {
  await using transport = createGrpcTransport({ path: engine.address });
  return await run(
    sandboxControllerClient(transport, "shim"),
    new Call({}).in(parseNamespace(engine.namespace)),
  );
}

for (const [name, flags] of [
  ["our shim", () => []],
  ["Debian's 1.7 shim", () => ["--runtime", join(peerBin("1.7"), "containerd-shim-runc-v2")]],
] as const) {
  test(`${name}: run, containers in its shim, status, stop, remove; create, start and exit are told`, () =>
    holder.check(async (bed) => {
      const { ctr, engine, image, dir } = bed;
      const pod = engine.id("pod");
      const events = await watchEvents(engine, "1.7");
      assert.equal(await ctr.ok("sandboxes", "run", ...flags(), config(dir), pod), `${pod}\n`);
      const again = await ctr.run("sandboxes", "run", ...flags(), config(dir), pod);
      assert.match(again.err, /already exists/);
      const inside = engine.id("in");
      await ctr.ok("run", "-d", ...flags(), "--sandbox", pod, image, inside, "sleep", "1000");
      const { pid } = await taskRow(ctr, inside);
      await control(bed, async (controller, call) => {
        const status = await controller.status(call, pod, true);
        assert.match(readFileSync(`/proc/${parentOf(pid)}/cmdline`, "utf8"), new RegExp(`-id\\0${pod}`));
        assert.match(status.address, /^ttrpc\+unix:\/\//);
        if (name === "our shim") {
          assert.equal(status.pid, parentOf(pid));
          assert.equal(status.state, "SANDBOX_READY");
          assert.equal(status.info.get("containers"), inside);
        }
        assert.equal((await controller.platform(call, pod)).os, "linux");
        await assert.rejects(controller.status(call, "nobody", false), { code: "not-found" });
        await assert.rejects(controller.update(call, await record(bed, pod), []), {
          code: "not-implemented",
        });
        if (name !== "our shim") return;
        const ended = controller.wait(call, pod);
        await controller.stop(call, pod, 0);
        assert.equal((await ended).status, 0);
        assert.equal((await controller.status(call, pod, false)).state, "SANDBOX_NOTREADY");
      });
      await ctr.ok("tasks", "rm", "-f", inside);
      await ctr.ok("containers", "rm", inside);
      await ctr.ok("sandboxes", "rm", pod);
      await until("the exit event", () => events.of(pod).some((e) => e.topic === "/sandboxes/exit"));
      assert.deepEqual(
        events
          .of(pod)
          .filter((e) => e.topic.startsWith("/sandboxes"))
          .map((e) => e.topic),
        ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"],
      );
      await events.stop();
    }));
}

test("a sandbox and its containers outlive the daemon; a killed shim is told as the sandbox's exit", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image, dir } = bed;
    const pod = engine.id("pod");
    await ctr.ok("sandboxes", "run", config(dir), pod);
    const inside = engine.id("in");
    await ctr.ok("run", "-d", "--sandbox", pod, image, inside, "sleep", "1000");
    const { pid } = await taskRow(ctr, inside);
    const shim = parentOf(pid);
    await engine.end("SIGKILL");
    await engine.start();
    assert.equal((await taskRow(ctr, inside)).pid, pid);
    await control(bed, async (controller, call) => {
      assert.equal((await controller.status(call, pod, false)).state, "SANDBOX_READY");
    });
    const events = await watchEvents(engine, "1.7");
    process.kill(shim, "SIGKILL");
    await until("the sandbox's exit", () => events.of(pod).some((e) => e.topic === "/sandboxes/exit"));
    await until("the container's exit", () => events.of(inside).some((e) => e.topic === "/tasks/exit"));
    await until("the end of the container", () => !alive(pid));
    await events.stop();
    await control(bed, async (controller, call) => {
      assert.equal((await controller.wait(call, pod)).status, 137);
      assert.equal((await controller.status(call, pod, false)).state, "SANDBOX_NOTREADY");
    });
    await ctr.ok("containers", "rm", inside);
    await ctr.ok("sandboxes", "rm", pod);
  }, RESTARTED));

test("a sandbox whose shim dies while the daemon is down is known as ended, and its record goes with rm", () =>
  holder.check(async (bed) => {
    const { ctr, engine, dir } = bed;
    const pod = engine.id("pod");
    await ctr.ok("sandboxes", "run", config(dir), pod);
    const shim = await control(
      bed,
      async (controller, call) => (await controller.status(call, pod, false)).pid,
    );
    await engine.end("SIGKILL");
    process.kill(shim, "SIGKILL");
    await until("its end", () => !alive(shim));
    await engine.start();
    await control(bed, async (controller, call) => {
      assert.equal((await controller.wait(call, pod)).status, 137);
    });
    await ctr.ok("sandboxes", "rm", pod);
  }, RESTARTED));

test("what fails leaves no record: no such runtime, a shim without sandboxes, no JSON", () =>
  holder.check(async (bed) => {
    const { ctr, engine, dir } = bed;
    const old = join(peerBin("1.6"), "containerd-shim-runc-v2");
    for (const [flags, reason] of [
      [["--runtime", "io.containerd.nothing.v1"], /not installed/],
      [["--runtime", old], /unimplemented|not implemented|unknown service/i],
    ] as const) {
      const said = await ctr.run("sandboxes", "run", ...flags, config(dir), engine.id("pod"));
      assert.equal(said.code, 1);
      assert.match(said.err, reason);
    }
    const bad = join(dir, "bad.json");
    writeFileSync(bad, "{");
    assert.match(
      (await ctr.run("sandboxes", "run", bad, engine.id("pod"))).err,
      /failed to parse sandbox config/,
    );
    assert.doesNotMatch(await ctr.ok("sandboxes", "ls"), /pod-/);
  }));

async function record({ engine }: Bed, id: string) {
  await using transport = createGrpcTransport({ path: engine.address });
  return await sandboxesClient(transport).get(new Call({}).in(parseNamespace(engine.namespace)), id);
}
