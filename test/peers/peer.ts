/**
 * Debian's own containerd beside the system: the daemon in a folder of its own, and its `ctr` against any socket. Used to hold
 * ours against it (their client on our daemon, our client on theirs, benchmarks).
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CACHE } from "../fixtures/images.ts";

export type PeerVersion = "1.6" | "1.7";

/** What a client said: both streams as text, and its exit code (128 + signal when it was ended by one). */
export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

let fetched = false;

/** The folder with the programs of a version; downloads both versions once. */
export function peerBin(version: PeerVersion): string {
  if (!fetched) {
    execFileSync(join(import.meta.dirname, "fetch-peers.sh"), { stdio: ["ignore", "ignore", "inherit"] });
    fetched = true;
  }
  return join(CACHE, "peers", version, "usr/bin");
}

/** A way to run a `ctr` with its `--address` set. Never throws: the caller asserts on the code. */
export type Ctr = (...args: readonly string[]) => Said;

/** A `ctr` program bound to a socket. `timeout` in milliseconds ends a client that hangs. */
export function ctrOf(program: string, address: string, timeout = 60_000): Ctr {
  return (...args) => {
    const done = spawnSync(program, ["--address", address, ...args], { encoding: "utf8", timeout });
    const code = done.status ?? 128;
    return { code, out: done.stdout ?? "", err: done.error === undefined ? done.stderr : String(done.error) };
  };
}

/** Debian's `ctr` of a version against any daemon's socket. */
export const peerCtr = (version: PeerVersion, address: string, timeout?: number): Ctr =>
  ctrOf(join(peerBin(version), "ctr"), address, timeout);

/** A daemon under test, ours or theirs. */
export interface Daemon extends AsyncDisposable {
  /** The folder that holds root, state, socket and log; removed by `stop`. */
  readonly dir: string;
  /** Path of the gRPC socket. */
  readonly address: string;
  readonly pid: number;
  /** What the daemon logged so far. */
  log(): string;
  /** Sends TERM and waits; KILL after 20 s. Unmounts what is left below the folder and removes it. */
  stop(): Promise<void>;
}

/** How to start a daemon. */
export interface DaemonOptions {
  /** Program and leading arguments; `-c CONFIG` is added. */
  readonly command: readonly [string, ...string[]];
  /** Folders put in front of PATH, where the shim is looked for. */
  readonly path?: readonly string[];
  /** TOML after the common part (tables only). */
  readonly config?: string;
  /** Plugins that are not loaded, besides the CRI's. */
  readonly disabled?: readonly string[];
  /** Longest time to the first answer, in milliseconds. */
  readonly startTimeout?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts Debian's containerd of a version, without CRI. */
export function startPeer(version: PeerVersion, options: Partial<DaemonOptions> = {}): Promise<Daemon> {
  const bin = peerBin(version);
  return startDaemon({ command: [join(bin, "containerd")], path: [bin], ...options });
}

/** Starts a daemon that takes containerd's config file in a new folder, and waits until it answers `version`. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const dir = mkdtempSync(join(tmpdir(), "gantry-daemon-"));
  const address = join(dir, "c.sock");
  const lines = ["version = 2", `root = "${dir}/root"`, `state = "${dir}/state"`];
  const disabled = JSON.stringify(["io.containerd.grpc.v1.cri", ...(options.disabled ?? [])]);
  lines.push(`disabled_plugins = ${disabled}`, "[grpc]", `  address = "${address}"`);
  writeFileSync(join(dir, "config.toml"), `${lines.join("\n")}\n${options.config ?? ""}\n`);
  const log = openSync(join(dir, "log"), "a");
  const [program, ...args] = options.command;
  const path = [...(options.path ?? []), process.env["PATH"] ?? ""].join(":");
  const child = spawn(program, [...args, "-c", join(dir, "config.toml")], {
    env: { ...process.env, ...options.env, PATH: path },
    stdio: ["ignore", log, log],
    detached: true,
  });
  const failed = new Promise<Error>((resolve) => child.once("error", resolve));
  const daemon: Daemon = {
    dir,
    address,
    pid: child.pid ?? -1,
    log: () => readFileSync(join(dir, "log"), "utf8"),
    stop: () => stop(child, dir),
    [Symbol.asyncDispose]: () => stop(child, dir),
  };
  const up = await Promise.race([answers(daemon, child, options.startTimeout ?? 20_000), failed]);
  if (up !== true) {
    const why = up === false ? daemon.log().slice(-2000) : up.message;
    await daemon.stop();
    throw new Error(`start daemon "${options.command.join(" ")}": ${why}`);
  }
  return daemon;
}

async function answers(daemon: Daemon, child: ChildProcess, timeout: number): Promise<boolean> {
  const ctr = peerCtr("1.6", daemon.address, 5_000);
  for (const end = Date.now() + timeout; Date.now() < end && child.exitCode === null; await delay(20)) {
    if (existsSync(daemon.address) && ctr("version").code === 0) return true;
  }
  return false;
}

async function stop(child: ChildProcess, dir: string): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGTERM");
    const hard = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await gone;
    clearTimeout(hard);
  }
  for (const target of mountsBelow(dir)) spawnSync("umount", ["-l", target]);
  rmSync(dir, { recursive: true, force: true });
}

/** Mount points below a folder, innermost first. */
export function mountsBelow(dir: string): string[] {
  const targets = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) =>
      (line.split(" ")[1] ?? "").replace(/\\([0-7]{3})/g, (_, o) =>
        String.fromCharCode(Number.parseInt(o, 8)),
      ),
    );
  return targets.filter((target) => target.startsWith(`${dir}/`)).reverse();
}
