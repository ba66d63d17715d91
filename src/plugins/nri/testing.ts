/** A manager of plugins behind a socket, for tests. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectPlugin, type PluginOptions, type TestPlugin } from "../../../test/fakes/nri-plugin.ts";
import { SecurityProfile_ProfileType } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import { noLog } from "../../core/log.ts";
import type { NriHost } from "../../core/nri/nri.ts";
import type { NriContainer, NriPod, NriUpdate } from "../../core/nri/types.ts";
import { type NriConfig, NriManager } from "./manager.ts";
import { parseNriConfig } from "./plugin.ts";

export const pod: NriPod = {
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

export function container(id = "c1"): NriContainer {
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
export class Bed implements AsyncDisposable {
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
