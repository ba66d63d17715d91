import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PluginOptions, TestPlugin } from "../../../test/fakes/nri-plugin.ts";
import { Event } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { Bed, container, pod } from "./testing.ts";

describe("plugins and their requests", () => {
  test("registration, configuration, what there is; requests in order of the index", async () => {
    await using bed = await new Bed().start();
    const order: string[] = [];
    const synced = createDeferred<string[]>();
    const note = (name: string): PluginOptions["handlers"] => ({
      configure: (r) => {
        assert.deepEqual(
          [r.runtimeName, r.runtimeVersion, r.registrationTimeout, r.requestTimeout],
          ["containerd", "1.2.3", 3000n, 1000n],
        );
        return {};
      },
      synchronize: (r) => {
        if (name === "late")
          synced.resolve([...r.pods.map(({ id }) => id), ...r.containers.map(({ id }) => id)]);
        return {};
      },
      runPodSandbox: (r) => {
        order.push(`${name}:${r.pod?.name}`);
        return {};
      },
    });
    assert.equal(bed.manager.active, false);
    await bed.join({ name: "late", index: "50", handlers: note("late") });
    await bed.join({ name: "early", index: "05", handlers: note("early") });
    assert.deepEqual(await synced.promise, ["pod1", "old"]);
    assert.deepEqual(bed.manager.plugins, ["05-early", "50-late"]);
    await bed.manager.pod("run", pod);
    assert.deepEqual(order, ["early:web", "late:web"]);
  });

  test("a plugin gets the events it asked for; one of before gets them as state changes", async () => {
    await using bed = await new Bed().start();
    const seen: Event[] = [];
    const some = await bed.join({
      name: "some",
      index: "00",
      events: 1 << (Event.STOP_POD_SANDBOX - 1),
      handlers: { runPodSandbox: () => assert.fail("not asked for"), stopPodSandbox: () => ({}) },
    });
    await bed.join({
      name: "old",
      index: "01",
      handlers: {
        stateChange: (r) => {
          seen.push(r.event);
          return {};
        },
      },
    });
    await bed.manager.pod("run", pod);
    await bed.manager.pod("stop", pod);
    await bed.manager.container("start", pod, container());
    assert.deepEqual(seen, [Event.RUN_POD_SANDBOX, Event.STOP_POD_SANDBOX, Event.START_CONTAINER]);
    assert.deepEqual(some.calls.slice(2), ["stopPodSandbox"]);
  });

  test("a plugin that refuses fails the request; one that hangs is closed and costs one timeout", async () => {
    await using bed = await new Bed({ requestMs: 100 }).start();
    await bed.join({
      name: "no",
      index: "00",
      handlers: {
        startContainer: () => {
          throw new Error("not on my watch");
        },
      },
    });
    await assert.rejects(bed.manager.container("start", pod, container()), /not on my watch/);
    const hung = await bed.join({
      name: "hung",
      index: "10",
      handlers: { runPodSandbox: () => new Promise(() => {}) },
    });
    const fine = await bed.join({ name: "fine", index: "20", handlers: { runPodSandbox: () => ({}) } });
    // several at once wait for the same plugin, and go on together
    await Promise.all([
      bed.manager.pod("run", pod),
      bed.manager.pod("run", pod),
      bed.manager.pod("run", pod),
    ]);
    await hung.closed;
    assert.equal(fine.calls.filter((name) => name === "runPodSandbox").length, 3);
    assert.equal(hung.calls.filter((name) => name === "runPodSandbox").length, 1);
    assert.deepEqual(bed.manager.plugins, ["00-no", "20-fine"]);
  });

  test("a plugin that goes away in the middle of a request is left out", async () => {
    await using bed = await new Bed().start();
    const plugin: TestPlugin = await bed.join({
      name: "gone",
      index: "00",
      handlers: {
        createContainer: () => {
          plugin.close();
          return new Promise(() => {});
        },
      },
    });
    const { adjust } = await bed.manager.createContainer(pod, container());
    assert.deepEqual([adjust.env, adjust.args], [[], []]);
    assert.equal(bed.manager.active, false);
  });

  test("one that does not register, or badly, is closed", async () => {
    await using bed = await new Bed({ registrationMs: 100 }).start();
    await (await bed.connect({ name: "mute", index: "00", silent: true })).closed;
    await assert.rejects(bed.connect({ name: "x", index: "7" }), /invalid plugin index "7"/);
    await assert.rejects(bed.connect({ name: "a b", index: "07" }), /invalid plugin name "a b"/);
    const bad = await bed.connect({ name: "bad", index: "00", events: 1 << 20 });
    await bad.closed;
    assert.deepEqual(bed.manager.plugins, []);
  });

  test("a large state goes in pieces", async () => {
    await using bed = new Bed();
    bed.containers = Array.from({ length: 400 }, (_, at) => ({
      ...container(`c${at}`),
      annotations: { big: "x".repeat(30_000) },
    }));
    await bed.start();
    let got = 0;
    const plugin = await bed.join({
      name: "all",
      index: "00",
      handlers: {
        synchronize: (r) => {
          got += r.containers.length;
          return { more: r.more };
        },
      },
    });
    await plugin.called("synchronize", 3);
    assert.equal(got, 400);
  });

  test("no plugin is synchronized while something is created, and the other way round", async () => {
    await using bed = await new Bed().start();
    const release = createDeferred<void>();
    const creating = await bed.manager.creating();
    const plugin = await bed.connect({
      name: "join",
      index: "00",
      handlers: {
        synchronize: async (r) => {
          assert.deepEqual(
            r.containers.map(({ id }) => id),
            ["old", "made meanwhile"],
          );
          await release.promise;
          return {};
        },
      },
    });
    await plugin.called("configure");
    assert.equal(bed.manager.active, true);
    bed.containers = [...bed.containers, container("made meanwhile")];
    creating[Symbol.dispose]();
    await plugin.called("synchronize");
    let began = false;
    const next = bed.manager.creating().then((held) => {
      began = true;
      return held;
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(began, false);
    release.resolve();
    (await next)[Symbol.dispose]();
    assert.deepEqual(bed.manager.plugins, ["00-join"]);
  });
});
