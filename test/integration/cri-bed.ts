/**
 * Our daemon with CRI in a network and mount namespace of its own, with Debian's CNI bridge: started, killed and started again
 * while the namespaces stay. Needs root, runc and /usr/lib/cni.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfigSchema,
  ImageService,
  type PodSandboxConfigSchema,
  RuntimeService,
} from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Client, Transport } from "../../src/rpc/types.ts";
import { imageName, testImages } from "../fixtures/images.ts";
import { ourBin } from "./program.ts";

/** Where Debian keeps the CNI plugins. */
export const CNI_BIN = "/usr/lib/cni";
/** Why these tests cannot run here; false when they can. */
export const cannotRun: string | false =
  process.geteuid?.() !== 0
    ? "needs root"
    : existsSync(join(CNI_BIN, "bridge")) && existsSync("/usr/sbin/runc")
      ? false
      : "needs runc and Debian's CNI plugins";
/** The test image: busybox. */
export const BUSYBOX = imageName("busybox");
/** How long a daemon may take to answer. Milliseconds. */
const START_MS = 30_000;

type PodInit = MessageInitShape<typeof PodSandboxConfigSchema>;
type ContainerInit = MessageInitShape<typeof ContainerConfigSchema>;

/** How a bed differs from the plain one. */
export interface CriBedOptions {
  /** Lines of the table of CRI's runtime. */
  readonly runtime?: string;
  /** More lines of config.toml. */
  readonly config?: string;
  /** More CNI plugins of the chain, each with a comma in front. */
  readonly plugins?: string;
  /** More environment of the daemon. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What pods leave behind in the world; equal before and after when nothing leaks. */
export interface Census {
  readonly namespaces: number;
  readonly interfaces: number;
  readonly addresses: readonly string[];
  readonly attachments: readonly string[];
  readonly mounts: readonly string[];
  readonly processes: readonly string[];
  readonly records: readonly string[];
}

/** See the file's comment. */
export class CriBed implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), "gantry-cri-"));
  /** In names of pods and cgroups. */
  readonly tag = randomBytes(3).toString("hex");
  readonly address = join(this.dir, "c.sock");
  readonly #holder: ChildProcess;
  #daemon: ChildProcess | undefined;
  #transport: Transport | undefined;
  #attempt = 0;
  readonly #env: Readonly<Record<string, string>>;

  private constructor({ runtime = "", config = "", plugins = "", env = {} }: CriBedOptions) {
    this.#env = env;
    for (const name of ["cni", "cni-bin", "logs"]) mkdirSync(join(this.dir, name));
    for (const plugin of readdirSync(CNI_BIN))
      writeFileSync(join(this.dir, "cni-bin", plugin), `#!/bin/sh\nexec ${CNI_BIN}/${plugin} "$@"\n`, {
        mode: 0o755,
      });
    writeFileSync(join(this.dir, "cni/10-test.conflist"), conflist(this.tag, this.dir, plugins));
    writeFileSync(join(this.dir, "config.toml"), daemonConfig(this.dir, this.address, runtime, config));
    const setup = [
      "mount --make-rprivate /",
      "mkdir -p /run/netns",
      "mount -t tmpfs tmpfs /run/netns",
      "ip link set lo up",
      "echo 1 > /proc/sys/net/ipv4/ip_forward",
      "echo ready",
      "exec cat",
    ].join("\n");
    this.#holder = spawn("unshare", ["-n", "-m", "sh", "-ec", setup], { stdio: ["pipe", "pipe", "inherit"] });
  }

  /** @param options a text is more lines of config.toml */
  static async start(options: CriBedOptions | string = {}): Promise<CriBed> {
    const bed = new CriBed(typeof options === "string" ? { config: options } : options);
    try {
      if (bed.#holder.stdout !== null) await once(bed.#holder.stdout, "data");
      await bed.startDaemon();
      bed.ctr("images", "import", testImages().archive("busybox"));
    } catch (err) {
      await bed[Symbol.asyncDispose]();
      throw err;
    }
    return bed;
  }

  /** The runtime service. */
  get runtime(): Client<typeof RuntimeService> {
    return createClient(RuntimeService, this.#connected());
  }

  get images(): Client<typeof ImageService> {
    return createClient(ImageService, this.#connected());
  }

  /** What the daemon logged. */
  log(): string {
    return readFileSync(join(this.dir, "log"), "utf8");
  }

  /** Runs a program in the namespaces. @returns its stdout. @throws when it fails */
  run(program: string, ...args: string[]): string {
    const [first, ...rest] = this.inside([program, ...args]);
    const done = spawnSync(first, rest, { encoding: "utf8", timeout: 60_000 });
    if (done.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  }

  /** Our ctr in CRI's namespace. */
  ctr(...args: string[]): string {
    const done = spawnSync(join(ourBin(), "ctr"), ["-a", this.address, "-n", "k8s.io", ...args], {
      encoding: "utf8",
      timeout: 60_000,
    });
    if (done.status !== 0) throw new Error(`ctr ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  }

  /** Starts the daemon. Resolves when it answers. @returns milliseconds until then */
  async startDaemon(): Promise<number> {
    const log = openSync(join(this.dir, "log"), "a");
    const [first, ...rest] = this.inside([join(ourBin(), "containerd"), "-c", join(this.dir, "config.toml")]);
    const begun = performance.now();
    const child = spawn(first, rest, {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...this.#env, PATH: path() },
    });
    this.#daemon = child;
    this.#transport = createGrpcTransport({ path: this.address });
    for (;;) {
      if (child.exitCode !== null) throw new Error(`the daemon ended: ${this.log().slice(-2000)}`);
      try {
        await this.runtime.version({}, { timeoutMs: 1_000 });
        return performance.now() - begun;
      } catch (err) {
        if (performance.now() - begun > START_MS) throw err;
        await delay(10);
      }
    }
  }

  /** Ends the daemon at once. Shims and containers live on. */
  async killDaemon(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#daemon;
    this.#daemon = undefined;
    const transport = this.#transport;
    this.#transport = undefined;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, "exit");
    }
    await transport?.close();
  }

  async restart(): Promise<number> {
    await this.killDaemon();
    return await this.startDaemon();
  }

  /** A pod's configuration with a name of its own. */
  pod(name: string, more: PodInit = {}): PodInit {
    return {
      metadata: { name, namespace: "test", uid: `${name}-${this.tag}`, attempt: this.#attempt++ },
      logDirectory: join(this.dir, "logs", name),
      ...more,
      linux: { cgroupParent: `/gantry-cri-${this.tag}`, ...more.linux },
    } as PodInit;
  }

  /** A busybox container that runs a shell command. */
  container(name: string, script: string, more: ContainerInit = {}): ContainerInit {
    return {
      metadata: { name },
      image: { image: BUSYBOX },
      command: ["sh", "-c", script],
      logPath: `${name}.log`,
      ...more,
    } as ContainerInit;
  }

  /** Creates and starts a container. @returns its id */
  async runContainer(podSandboxId: string, pod: PodInit, config: ContainerInit): Promise<string> {
    const { containerId } = await this.runtime.createContainer({ podSandboxId, config, sandboxConfig: pod });
    await this.runtime.startContainer({ containerId });
    return containerId;
  }

  /** Removes every pod, as a kubelet would. */
  async removeAll(): Promise<void> {
    const { items } = await this.runtime.listPodSandbox({});
    for (const { id } of items) {
      await this.runtime.stopPodSandbox({ podSandboxId: id });
      await this.runtime.removePodSandbox({ podSandboxId: id });
    }
  }

  /** See {@link Census}. */
  census(): Census {
    const cri = "io.containerd.grpc.v1.cri";
    const files = (...parts: string[]): string[] => list(join(this.dir, ...parts));
    return {
      namespaces: this.run("ls", "/run/netns").split("\n").length,
      interfaces: this.run("ip", "-o", "link")
        .split("\n")
        .filter((l) => l.includes("veth")).length,
      addresses: files("ipam", this.tag).filter((n) => /^\d/.test(n)),
      attachments: files("root", cri, "cni", "results"),
      mounts: this.run("cat", "/proc/self/mountinfo")
        .split("\n")
        .filter((l) => l.includes(`${this.dir}/state/`)),
      processes: processesOf(this.dir),
      records: [
        ...files("root", cri, "sandboxes"),
        ...files("root", cri, "containers"),
        ...files("state", cri, "sandboxes"),
        ...files("state", cri, "containers"),
        ...files("state", "io.containerd.runtime.v2.task", "k8s.io"),
      ],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#transport !== undefined) await this.removeAll().catch(() => {});
    await this.killDaemon("SIGTERM");
    this.#holder.stdin?.end();
    await once(this.#holder, "exit").catch(() => {});
    for (const mount of readFileSync("/proc/self/mountinfo", "utf8").split("\n").reverse()) {
      const target = mount.split(" ")[4] ?? "";
      if (target.startsWith(`${this.dir}/`)) spawnSync("umount", ["-l", target]);
    }
    rmSync(this.dir, { recursive: true, force: true });
    for (const base of list("/sys/fs/cgroup"))
      removeCgroup(join("/sys/fs/cgroup", base, `gantry-cri-${this.tag}`));
  }

  #connected(): Transport {
    if (this.#transport === undefined) throw new Error("the daemon does not run");
    return this.#transport;
  }

  /** The command line that runs a program in the namespaces. */
  inside(command: readonly string[]): [string, ...string[]] {
    return ["nsenter", "-t", String(this.#holder.pid), "-n", "-m", "--wd=/", ...command];
  }
}

function path(): string {
  return `${ourBin()}:${process.env["PATH"] ?? ""}`;
}

function list(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir).sort() : [];
}

function removeCgroup(dir: string): void {
  if (!existsSync(dir)) return;
  for (const entry of readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(dir, entry.name));
  spawnSync("rmdir", [dir]);
}

/** Shims of this bed, and what runs in its pods. */
function processesOf(dir: string): string[] {
  const out: string[] = [];
  for (const pid of readdirSync("/proc").filter((n) => /^\d+$/.test(n))) {
    try {
      const root = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8").split("\n")[0] ?? "";
      if ((root.includes(`${dir}/state`) || mounts.includes(dir)) && !root.includes("config.toml"))
        out.push(root.replaceAll("\0", " ").slice(0, 80));
    } catch {
      // it ended
    }
  }
  return out;
}

function conflist(tag: string, dir: string, plugins: string): string {
  return `{"cniVersion":"1.0.0","name":"${tag}","plugins":[
    {"type":"bridge","bridge":"br${tag}","isGateway":true,
     "ipam":{"type":"host-local","dataDir":"${dir}/ipam","ranges":[[{"subnet":"10.97.0.0/16"}]]}}${plugins}]}`;
}

function daemonConfig(dir: string, address: string, runtime: string, more: string): string {
  return `version = 4
root = "${dir}/root"
state = "${dir}/state"
[plugins."io.containerd.server.v1.grpc"]
address = "${address}"
[plugins."io.containerd.cri.v1.runtime"]
${runtime}
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["${dir}/cni-bin"]
conf_dir = "${dir}/cni"
[plugins."io.containerd.nri.v1.nri"]
socket_path = "${dir}/nri.sock"
plugin_path = "${dir}/nri-plugins"
plugin_config_path = "${dir}/nri-conf"
${more}`;
}
