/**
 * A CRI engine in namespaces of its own: Debian's containerd (or any program that takes its config file) with the CRI plugin,
 * a CNI bridge, and images imported from archives, so that pods start without a network. Needs root.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { imageName, testImages } from "../fixtures/images.ts";
import { mountsBelow, type PeerVersion, peerBin, type Said } from "./peer.ts";

/** Where Debian keeps the CNI plugins. */
export const CNI_BIN = "/usr/lib/cni";
/** What the sandbox image is called in the peer. */
export const PAUSE = "gantry.test/pause:latest";

/** A running CRI engine. */
export interface CriPeer extends AsyncDisposable {
  readonly dir: string;
  /** Path of its socket; reachable from every namespace. */
  readonly address: string;
  /** In names and cgroups of pods, so that what is left can be told from others'. */
  readonly tag: string;
  /** A process in its network namespace: for `nsenter`. */
  readonly pid: number;
  log(): string;
  /** Runs a program in its network and mount namespaces (streaming servers listen on loopback there). */
  run(program: string, args: readonly string[], options?: RunOptions): Said;
  /** The command line that runs a program there. */
  wrap(program: string, args: readonly string[]): [string, ...string[]];
  /** Imports an archive into the namespace of CRI. */
  import(archive: string): void;
  /** Gives an image another name. */
  tagImage(from: string, to: string): void;
  stop(): Promise<void>;
}

/** Options of {@link CriPeer.run}. */
export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds. */
  readonly timeout?: number;
}

/** Starts Debian's containerd of a version with CRI. `pause` is the archive of an image named {@link PAUSE} or any name. */
export function startCriPeer(version: PeerVersion, pause: Uint8Array): Promise<CriPeer> {
  const bin = peerBin(version);
  return startCri({ program: join(bin, "containerd"), args: [], path: bin, ctr: join(bin, "ctr"), pause });
}

/** How a CRI engine is started. */
export interface CriOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** Put in front of PATH: where the shim is. */
  readonly path: string;
  /** A `ctr` to import with. */
  readonly ctr: string;
  /** The archive of the sandbox image. */
  readonly pause: Uint8Array;
  /** More of the configuration file, given the engine's folder. */
  readonly more?: (dir: string) => string;
}

/** Starts an engine that takes containerd's configuration of version 2. */
export async function startCri(options: CriOptions): Promise<CriPeer> {
  const dir = mkdtempSync(join(tmpdir(), "gantry-cri-"));
  const tag = randomBytes(3).toString("hex");
  const address = join(dir, "c.sock");
  mkdirSync(join(dir, "cni"));
  writeFileSync(join(dir, "cni/10-test.conflist"), conflist(tag, dir));
  writeFileSync(join(dir, "config.toml"), config(dir, address) + (options.more?.(dir) ?? ""));
  writeFileSync(join(dir, "pause.tar"), options.pause);
  const log = openSync(join(dir, "log"), "a");
  const setup = [
    "mount --make-rprivate /",
    "mkdir -p /run/netns /var/lib/cni",
    "mount -t tmpfs tmpfs /run/netns",
    "mount -t tmpfs tmpfs /var/lib/cni",
    "ip link set lo up",
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    'exec "$0" "$@"',
  ].join("\n");
  const command = [options.program, ...options.args, "-c", join(dir, "config.toml")];
  const child = spawn("unshare", ["-n", "-m", "sh", "-ec", setup, ...command], {
    env: { ...process.env, PATH: [options.path, process.env["PATH"] ?? ""].join(":") },
    stdio: ["ignore", log, log],
    detached: true,
  });
  const wrap = (program: string, args: readonly string[]): [string, ...string[]] => [
    "nsenter",
    "-t",
    String(child.pid),
    "-n",
    "-m",
    "--wd=/",
    program,
    ...args,
  ];
  const peer: CriPeer = {
    dir,
    address,
    tag,
    pid: child.pid ?? -1,
    log: () => readFileSync(join(dir, "log"), "utf8"),
    wrap,
    run(program, args, { input = "", env = {}, timeout = 60_000 } = {}) {
      const [first, ...rest] = wrap(program, args);
      const done = spawnSync(first, rest, {
        encoding: "utf8",
        input,
        timeout,
        maxBuffer: 64 << 20,
        env: { ...process.env, ...env },
      });
      return {
        code: done.status ?? 128,
        out: done.stdout ?? "",
        err: done.error === undefined ? done.stderr : `${String(done.error)}\n${done.stderr ?? ""}`,
      };
    },
    import(archive) {
      execFileSync(options.ctr, ["-a", address, "-n", "k8s.io", "images", "import", archive], {
        stdio: ["ignore", "ignore", "inherit"],
      });
    },
    tagImage(from, to) {
      execFileSync(options.ctr, ["-a", address, "-n", "k8s.io", "images", "tag", from, to], {
        stdio: "ignore",
      });
    },
    stop: () => stop(child, dir, tag),
    [Symbol.asyncDispose]: () => stop(child, dir, tag),
  };
  try {
    await ready(peer, child, options.ctr);
    peer.import(join(dir, "pause.tar"));
    peer.import(testImages().archive("busybox"));
    const names = spawnSync(options.ctr, ["-a", address, "-n", "k8s.io", "images", "ls", "-q"], {
      encoding: "utf8",
    });
    const name = names.stdout.split("\n").find((line) => line.includes("pause"));
    if (name !== undefined && name !== PAUSE)
      spawnSync(options.ctr, ["-a", address, "-n", "k8s.io", "images", "tag", name, PAUSE]);
  } catch (err) {
    const said = peer.log().slice(-3000);
    await peer.stop();
    throw new Error(`start cri engine "${options.program}": ${String(err)}\n${said}`, { cause: err });
  }
  return peer;
}

/** The name of the shell image that every peer has. */
export const BUSYBOX = imageName("busybox");

async function ready(peer: CriPeer, child: ChildProcess, ctr: string): Promise<void> {
  for (const end = Date.now() + 20_000; Date.now() < end; await delay(50)) {
    if (child.exitCode !== null) throw new Error("the daemon ended");
    if (!existsSync(peer.address)) continue;
    const done = spawnSync(ctr, ["-a", peer.address, "--connect-timeout", "1s", "plugins", "ls"], {
      encoding: "utf8",
      timeout: 5_000,
    });
    if (done.status === 0 && /\bcri\s+\S+\s+ok/.test(done.stdout)) return;
  }
  throw new Error("no answer with a running CRI plugin in 20 s");
}

function config(dir: string, address: string): string {
  return `version = 2
root = "${dir}/root"
state = "${dir}/state"
[grpc]
  address = "${address}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_selinux = false
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${CNI_BIN}"
    conf_dir = "${dir}/cni"
`;
}

function conflist(tag: string, dir: string): string {
  const bridge = {
    type: "bridge",
    bridge: `gt${tag}`,
    isGateway: true,
    ipMasq: false,
    ipam: { type: "host-local", dataDir: join(dir, "ipam"), ranges: [[{ subnet: "10.91.0.0/24" }]] },
  };
  return JSON.stringify({ cniVersion: "0.4.0", name: `test-${tag}`, plugins: [bridge] });
}

async function stop(child: ChildProcess, dir: string, tag: string): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    for (const pid of [...shims(dir), ...contained(tag)]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // ended by itself
      }
    }
    child.kill("SIGTERM");
    const hard = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await gone;
    clearTimeout(hard);
  }
  for (const target of mountsBelow(dir)) spawnSync("umount", ["-l", target]);
  spawnSync("sh", [
    "-c",
    `find /sys/fs/cgroup -depth -type d -path "*gantry-${tag}*" -exec rmdir {} + 2>/dev/null`,
  ]);
  rmSync(dir, { recursive: true, force: true });
}

/** Processes in the cgroups of the peer's pods. */
function contained(tag: string): number[] {
  const find = [
    "/sys/fs/cgroup",
    "-path",
    `*gantry-${tag}*`,
    "-name",
    "cgroup.procs",
    "-exec",
    "cat",
    "{}",
    "+",
  ];
  const found = spawnSync("find", find, { encoding: "utf8" });
  return [...new Set(found.stdout.split("\n").map(Number))].filter((pid) => pid > 0);
}

/** Shims of a daemon whose folder is `dir`. */
function shims(dir: string): number[] {
  const found = spawnSync("sh", ["-c", 'grep -lsa -- "$0" /proc/[0-9]*/cmdline', `${dir}/c.sock`], {
    encoding: "utf8",
  });
  const programOf = (pid: number): string => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8");
    } catch {
      return "";
    }
  };
  return found.stdout
    .split("\n")
    .map((line) => Number(/^\/proc\/(\d+)\//.exec(line)?.[1]))
    .filter((pid) => pid > 0 && programOf(pid).includes("containerd-shim"));
}
