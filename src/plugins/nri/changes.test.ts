import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Bed, container, pod } from "./testing.ts";

describe("what plugins change", () => {
  test("adjustments add up; each plugin sees what those before it did", async () => {
    await using bed = await new Bed().start();
    await bed.join({
      name: "one",
      index: "00",
      handlers: {
        createContainer: () => ({
          adjust: {
            annotations: { one: "1", "-a": "" },
            env: [
              { key: "NEW", value: "one" },
              { key: "-OLD", value: "" },
            ],
            mounts: [
              { destination: "-/data" },
              { destination: "/one", type: "bind", source: "/x", options: ["rw"] },
            ],
            args: ["changed"],
            linux: {
              resources: { cpu: { shares: { value: 512n } }, unified: { "memory.high": "1" } },
              devices: [{ path: "/dev/x", type: "c", major: 1n, minor: 3n }],
            },
          },
          update: [{ containerId: "old", linux: { resources: { cpu: { cpus: "0" } } } }],
        }),
      },
    });
    await bed.join({
      name: "two",
      index: "01",
      handlers: {
        createContainer: (r) => {
          const seen = r.container;
          assert.deepEqual(seen?.env, ["PATH=/bin", "NEW=one"]);
          assert.deepEqual(seen?.args, ["changed"]);
          assert.deepEqual(
            seen?.mounts.map(({ destination }) => destination),
            ["/one"],
          );
          assert.deepEqual(seen?.annotations, { one: "1" });
          assert.equal(seen?.linux?.resources?.cpu?.shares?.value, 512n);
          return {
            adjust: {
              // taken back and set anew: no conflict
              env: [
                { key: "-NEW", value: "" },
                { key: "NEW", value: "two" },
              ],
              args: ["", "again"],
              hooks: { poststop: [{ path: "/bin/true", args: ["true"] }] },
              linux: { resources: { memory: { limit: { value: 1n << 30n } } }, oomScoreAdj: { value: 7n } },
            },
          };
        },
      },
    });
    const { adjust, update } = await bed.manager.createContainer(pod, container());
    assert.deepEqual(
      adjust.env,
      [
        { key: "-OLD", value: "" },
        { key: "NEW", value: "two" },
      ].map((each) => ({ $typeName: "nri.pkg.api.v1alpha1.KeyValue", ...each })),
    );
    assert.deepEqual(adjust.args, ["again"]);
    assert.deepEqual(adjust.annotations, { "-a": "", one: "1" });
    assert.equal(adjust.linux?.resources?.cpu?.shares?.value, 512n);
    assert.equal(adjust.linux?.resources?.memory?.limit?.value, 1n << 30n);
    assert.equal(adjust.linux?.oomScoreAdj?.value, 7n);
    assert.equal(adjust.hooks?.poststop[0]?.path, "/bin/true");
    assert.deepEqual(
      update.map(({ containerId, linux }) => [containerId, linux?.resources?.cpu?.cpus]),
      [["old", "0"]],
    );
  });

  const conflicts: Readonly<Record<string, object>> = {
    "Env NEW": { env: [{ key: "NEW", value: "x" }] },
    Args: { args: ["x"] },
    "Mounts /m": { mounts: [{ destination: "/m" }] },
    "Annotations k": { annotations: { k: "v" } },
    "Rlimits RLIMIT_NOFILE": { rlimits: [{ type: "RLIMIT_NOFILE", hard: 1n, soft: 1n }] },
    "CdiDevices v/c=d": { CDIDevices: [{ name: "v/c=d" }] },
    "Devices /dev/x": { linux: { devices: [{ path: "/dev/x" }] } },
    MemLimit: { linux: { resources: { memory: { limit: { value: 1n } } } } },
    CPUShares: { linux: { resources: { cpu: { shares: { value: 1n } } } } },
    CPUSetCPUs: { linux: { resources: { cpu: { cpus: "0" } } } },
    PidsLimit: { linux: { resources: { pids: { limit: 1n } } } },
    "HugepageLimits 2MB": { linux: { resources: { hugepageLimits: [{ pageSize: "2MB", limit: 1n }] } } },
    "CgroupsUnified k": { linux: { resources: { unified: { k: "v" } } } },
    CgroupsPath: { linux: { cgroupsPath: "/x" } },
    OomScoreAdj: { linux: { oomScoreAdj: { value: 1n } } },
    "Namespace pid": { linux: { namespaces: [{ type: "pid" }] } },
    "Sysctl a.b": { linux: { sysctl: { "a.b": "1" } } },
    SeccompPolicy: { linux: { seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } } },
    IoPriority: { linux: { ioPriority: { priority: 1 } } },
    LinuxSched: { linux: { scheduler: { policy: 1 } } },
    MemoryPolicy: { linux: { memoryPolicy: { mode: 1 } } },
    RdtClosID: { linux: { rdt: { closId: { value: "x" } } } },
  };
  for (const [what, adjust] of Object.entries(conflicts)) {
    test(`two plugins that both set ${what} fail the request`, async () => {
      await using bed = await new Bed().start();
      const handlers = { createContainer: () => ({ adjust }) };
      await bed.join({ name: "one", index: "00", handlers });
      await bed.join({ name: "two", index: "01", handlers });
      await assert.rejects(
        bed.manager.createContainer(pod, container()),
        (err: Error) => err.message === `plugins "01-two" and "00-one" both tried to set ${what}`,
      );
    });
  }

  test("hooks of several plugins are all kept", async () => {
    await using bed = await new Bed().start();
    for (const index of ["00", "01"])
      await bed.join({
        name: "hooks",
        index,
        handlers: { createContainer: () => ({ adjust: { hooks: { prestart: [{ path: `/${index}` }] } } }) },
      });
    const { adjust } = await bed.manager.createContainer(pod, container());
    assert.deepEqual(
      adjust.hooks?.prestart.map(({ path }) => path),
      ["/00", "/01"],
    );
  });

  test("UpdateContainer: the next plugin sees the sum; StopContainer: others are updated", async () => {
    await using bed = await new Bed().start();
    await bed.join({
      name: "one",
      index: "00",
      handlers: {
        updateContainer: () => ({
          update: [{ containerId: "c1", linux: { resources: { cpu: { cpus: "1" } } } }],
        }),
        stopContainer: () => ({
          update: [{ containerId: "old", linux: { resources: { cpu: { cpus: "0-1" } } } }],
        }),
      },
    });
    await bed.join({
      name: "two",
      index: "01",
      handlers: {
        updateContainer: (r) => {
          assert.deepEqual([r.linuxResources?.cpu?.cpus, r.linuxResources?.cpu?.shares?.value], ["1", 100n]);
          return { evict: [{ containerId: "bad", reason: "noisy" }] };
        },
      },
    });
    const asked = {
      cpu: { shares: { value: 100n }, cpus: "", mems: "" },
      hugepageLimits: [],
      unified: {},
      devices: [],
    };
    const result = await bed.manager.updateContainer(pod, container(), asked);
    assert.deepEqual([result.resources.cpu?.cpus, result.resources.cpu?.shares?.value], ["1", 100n]);
    assert.deepEqual([result.update, result.evict.map(({ containerId }) => containerId)], [[], ["bad"]]);
    const stopped = await bed.manager.stopContainer(pod, container());
    assert.equal(stopped.update[0]?.linux?.resources?.cpu?.cpus, "0-1");
  });

  test("updates and evictions that a plugin asks for by itself; failures go back to it", async () => {
    await using bed = await new Bed().start();
    const plugin = await bed.join({ name: "self", index: "00" });
    const update = [{ containerId: "old", linux: { resources: { pids: { limit: 5n } } } }];
    assert.deepEqual((await plugin.update(update, [{ containerId: "gone", reason: "x" }])).failed, []);
    assert.equal(bed.updated[0]?.linux?.resources?.pids?.limit, 5n);
    assert.deepEqual(bed.evicted, ["gone"]);
    bed.failUpdates = true;
    assert.equal((await plugin.update(update)).failed[0]?.containerId, "old");
  });

  test("updates that synchronization brings are done", async () => {
    await using bed = await new Bed().start();
    await bed.join({
      name: "sync",
      index: "00",
      handlers: {
        synchronize: () => ({
          update: [{ containerId: "old", linux: { resources: { cpu: { mems: "0" } } } }],
        }),
      },
    });
    assert.equal(bed.updated[0]?.linux?.resources?.cpu?.mems, "0");
  });
});
