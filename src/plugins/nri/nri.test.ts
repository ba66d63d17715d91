import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { connectPlugin, type PluginOptions, type TestPlugin } from "../../../test/fakes/nri-plugin.ts";
import { Event, SecurityProfile_ProfileType } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import { noLog } from "../../core/log.ts";
import type { NriHost } from "../../core/nri/nri.ts";
import type { NriContainer, NriPod, NriUpdate } from "../../core/nri/types.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { type NriConfig, NriManager } from "./manager.ts";
import { parseNriConfig } from "./plugin.ts";

const pod: NriPod = {
  id: "pod1",
  name: "web",
  uid: "u1",
  namespace: "default",
  labels: {},
  annotations: {},
  runtimeHandler: "",
  pid: 7,
  ips: ["10.0.0.1"],
  linux: { cgroupParent: "/p", cgroupsPath: "/p/pod1", namespaces: [{ type: "network", path: "/n" }] },
};

function container(id = "c1"): NriContainer {
  return {
    id,
    podSandboxId: "pod1",
    name: "main",
    state: 1,
    labels: {},
    annotations: { a: "1" },
    args: ["run"],
    env: ["PATH=/bin", "OLD=1"],
    mounts: [{ destination: "/data", type: "bind", source: "/d", options: ["ro"] }],
    hooks: {
      prestart: [],
      createRuntime: [],
      createContainer: [],
      startContainer: [],
      poststart: [],
      poststop: [],
    },
    linux: {
      namespaces: [{ type: "pid", path: "" }],
      devices: [],
      cgroupsPath: "/p/c1",
      sysctl: {},
      netDevices: {},
      seccompProfile: { profileType: SecurityProfile_ProfileType.RUNTIME_DEFAULT, localhostRef: "" },
    },
    pid: 0,
    rlimits: [],
    createdAt: 5n,
    startedAt: 0n,
    finishedAt: 0n,
    exitCode: 0,
    statusReason: "",
    statusMessage: "",
    CDIDevices: [],
  };
}

/** A manager behind a socket, with a host that notes what it is asked. */
class Bed implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), "gantry-nri-"));
  readonly path = join(this.dir, "nri.sock");
  readonly updated: NriUpdate[] = [];
  readonly evicted: string[] = [];
  failUpdates = false;
  containers: NriContainer[] = [container("old")];
  readonly manager: NriManager;
  readonly #server: Server;
  readonly #plugins: TestPlugin[] = [];

  constructor(change: Partial<NriConfig> = {}) {
    mkdirSync(join(this.dir, "plugins"));
    mkdirSync(join(this.dir, "conf"));
    const config: NriConfig = {
      ...parseNriConfig({ plugin_registration_timeout: "3s", plugin_request_timeout: "1s" }),
      pluginPath: join(this.dir, "plugins"),
      pluginConfigPath: join(this.dir, "conf"),
      socketPath: this.path,
      ...change,
    };
    this.#server = createServer((socket) => this.manager.connect(socket));
    this.manager = new NriManager(
      config,
      "1.2.3",
      noLog,
      () => new Promise((resolve) => this.#server.listen(this.path, resolve)),
    );
  }

  async start(): Promise<this> {
    const host: NriHost = {
      snapshot: async () => ({ pods: [pod], containers: this.containers }),
      update: async (updates) => {
        this.updated.push(...updates);
        return this.failUpdates ? [...updates] : [];
      },
      evict: async (evictions) => {
        this.evicted.push(...evictions.map(({ containerId }) => containerId));
      },
    };
    await this.manager.start(host);
    return this;
  }

  async connect(options: PluginOptions): Promise<TestPlugin> {
    const plugin = await connectPlugin(this.path, options);
    this.#plugins.push(plugin);
    return plugin;
  }

  /** Connects and waits until it gets requests. */
  async join(options: PluginOptions): Promise<TestPlugin> {
    const plugin = await this.connect(options);
    await plugin.called("synchronize");
    const id = `${options.index}-${options.name}`;
    while (!this.manager.plugins.includes(id)) await new Promise((resolve) => setImmediate(resolve));
    return plugin;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.manager.close();
    for (const plugin of this.#plugins) plugin.close();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.dir, { recursive: true });
  }
}

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

describe("validation", () => {
  test("a validator plugin sees changes, owners and plugins, and may reject them", async () => {
    await using bed = await new Bed().start();
    await bed.join({
      name: "hooks",
      index: "00",
      handlers: { createContainer: () => ({ adjust: { hooks: { prestart: [{ path: "/x" }] } } }) },
    });
    await bed.join({
      name: "judge",
      index: "90",
      handlers: {
        validateContainerAdjustment: (r) => {
          assert.equal(r.adjust?.hooks?.prestart[0]?.path, "/x");
          assert.equal(r.owners?.owners["c1"]?.simple[3], "00-hooks");
          assert.deepEqual(
            r.plugins.map(({ name, index }) => `${index}-${name}`),
            ["00-hooks", "90-judge"],
          );
          return { reject: true, reason: "no hooks here" };
        },
      },
    });
    await assert.rejects(
      bed.manager.createContainer(pod, container()),
      /validator plugin "90-judge" rejected container adjustment: no hooks here/,
    );
  });

  const forbidden: [string, Record<string, unknown>, object, RegExp][] = [
    [
      "hooks",
      { reject_oci_hook_adjustment: true },
      { hooks: { poststop: [{ path: "/x" }] } },
      /validation error: plugin "00-p" attempted restricted OCI hook injection/,
    ],
    [
      "seccomp",
      { reject_runtime_default_seccomp_adjustment: true },
      { linux: { seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } } },
      /restricted runtime default seccomp policy adjustment/,
    ],
    [
      "namespaces",
      { reject_namespace_adjustment: true },
      { linux: { namespaces: [{ type: "uts" }] } },
      /restricted namespace adjustment by plugin\(s\) "00-p" \(namespace "uts"\)/,
    ],
    [
      "sysctls",
      { reject_sysctl_adjustment: true },
      { linux: { sysctl: { "net.x": "1" } } },
      /restricted sysctl adjustment by plugin\(s\) 00-p/,
    ],
    ["a missing plugin", { required_plugins: ["topology"] }, {}, /required plugin "topology" not present/],
  ];
  for (const [what, table, adjust, words] of forbidden) {
    test(`the built-in validator rejects ${what}`, async () => {
      const validator = parseNriConfig({
        plugin_registration_timeout: "1s",
        plugin_request_timeout: "1s",
        default_validator: { enable: true, ...table },
      }).validator;
      await using bed = await new Bed({ validator }).start();
      await bed.join({ name: "p", index: "00", handlers: { createContainer: () => ({ adjust }) } });
      await assert.rejects(bed.manager.createContainer(pod, container()), words);
    });
  }

  test("pods name plugins they need, or that they can do without", async () => {
    const { validator } = parseNriConfig({
      plugin_registration_timeout: "1s",
      plugin_request_timeout: "1s",
      default_validator: {
        enable: true,
        required_plugins: ["topology"],
        tolerate_missing_plugins_annotation: "tolerate.example",
      },
    });
    await using bed = await new Bed({ validator }).start();
    const tolerant = { ...pod, annotations: { "tolerate.example/container.main": "true" } };
    await bed.manager.createContainer(tolerant, container());
    const wants = { ...pod, annotations: { "required-plugins.noderesource.dev": "[ other, more ]" } };
    await assert.rejects(
      bed.manager.createContainer(wants, container()),
      /required plugins "topology,other,more" not present/,
    );
  });
});

describe("pre-installed plugins", () => {
  test("are started with their name, index, socket and configuration; others are left out", async () => {
    await using bed = new Bed();
    const plugins = join(bed.dir, "plugins");
    const script = join(bed.dir, "plugin.ts");
    const here = import.meta.dirname;
    // A plugin in a process of its own: takes fd 3 over, and answers with its configuration when it is asked.
    writeFileSync(
      script,
      `import { connectPlugin } from ${JSON.stringify(join(here, "../../../test/fakes/nri-plugin.ts"))};
import { FdDuplex } from ${JSON.stringify(join(here, "fd-duplex.ts"))};
let config = "";
await connectPlugin(new FdDuplex(Number(process.env.NRI_PLUGIN_SOCKET)), {
  name: process.env.NRI_PLUGIN_NAME, index: process.env.NRI_PLUGIN_IDX,
  handlers: {
    configure: (r) => { config = r.config; return {}; },
    createContainer: () => ({ adjust: { annotations: { config } } }),
  },
});
`,
    );
    const install = (name: string, text: string, mode: number): void => {
      writeFileSync(join(plugins, name), text);
      chmodSync(join(plugins, name), mode);
    };
    const run =
      process.versions["bun"] === undefined
        ? `${process.execPath} run -A --no-check --config ${join(here, "../../../deno.json")}`
        : process.execPath;
    install("10-real", `#!/bin/sh\nexec ${run} ${script}\n`, 0o755);
    install("20-broken", "#!/bin/sh\nexit 1\n", 0o755);
    install("nonsense", "#!/bin/sh\nexit 1\n", 0o755);
    install("30-data", "", 0o644);
    writeFileSync(join(bed.dir, "conf/real.conf"), "other");
    writeFileSync(join(bed.dir, "conf/10-real.conf"), "mine: yes");
    await bed.start();
    assert.deepEqual(bed.manager.plugins, ["10-real"]);
    const { adjust } = await bed.manager.createContainer(pod, container());
    assert.deepEqual(adjust.annotations, { config: "mine: yes" });
  });
});
