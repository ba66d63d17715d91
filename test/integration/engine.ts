/**
 * A daemon under test with everything of its own: folders, socket, containerd namespaces, container ids. Ours (compiled, from
 * source, under Deno) and Debian's are driven alike; ours and theirs can be killed and started again on the same folders.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { mountsBelow, peerBin } from "../peers/peer.ts";
import { Client, until } from "./client.ts";
import { BUN, DENO, MAIN, ourBin } from "./program.ts";
import { cgroupsOf, fifosOf, strays } from "./traces.ts";

/** What runs: ours compiled, ours from source, or Debian's. */
export type EngineKind = "ours" | "bun" | "deno" | "1.6" | "1.7";
/** Which `ctr` drives it. */
export type ClientKind = "ours" | "1.6" | "1.7";

const READY_MS = 30_000;

function commandOf(
  kind: EngineKind,
  own?: string,
): { readonly command: [string, ...string[]]; readonly path: string } {
  if (kind === "bun") return { command: [BUN, MAIN, "daemon"], path: "" };
  if (kind === "deno") return { command: [DENO, "run", "-A", MAIN, "daemon"], path: "" };
  const bin = kind === "ours" ? (own ?? ourBin()) : peerBin(kind);
  return { command: [join(bin, "containerd")], path: bin };
}

/** The `ctr` of a kind. */
export function clientProgram(kind: ClientKind): [string, ...string[]] {
  return [join(kind === "ours" ? ourBin() : peerBin(kind), "ctr")];
}

/** See the file's comment. */
export class Engine implements AsyncDisposable {
  readonly kind: EngineKind;
  readonly dir: string;
  /** In every id and namespace of this engine, so that what it leaves on the machine can be told from others'. */
  readonly tag: string;
  /** Namespace of the test. */
  readonly namespace: string;
  /** Every container the census met, as `NAMESPACE/ID`. */
  readonly seen = new Set<string>();
  readonly #bin: string | undefined;
  #child: ChildProcess | undefined;
  #ids = 0;

  /** @param bin folder of our programs, when it is not the one under test */
  constructor(kind: EngineKind, bin?: string) {
    this.kind = kind;
    this.#bin = bin;
    this.dir = mkdtempSync(join(tmpdir(), "gantry-e2e-"));
    this.tag = randomBytes(3).toString("hex");
    this.namespace = `e2e-${this.tag}`;
    const lines = ["version = 2", `root = "${this.root}"`, `state = "${this.state}"`];
    lines.push('disabled_plugins = ["io.containerd.grpc.v1.cri"]', "[grpc]", `  address = "${this.address}"`);
    // by default containerd collects only after many changes; the census waits for it
    lines.push(
      '[plugins."io.containerd.gc.v1.scheduler"]',
      '  schedule_delay = "10ms"',
      '  startup_delay = "10ms"',
      "  deletion_threshold = 1",
    );
    writeFileSync(join(this.dir, "config.toml"), `${lines.join("\n")}\n`);
  }

  /** Whether it is ours, however it is run. */
  get isOurs(): boolean {
    return this.kind !== "1.6" && this.kind !== "1.7";
  }
  get root(): string {
    return join(this.dir, "root");
  }
  get state(): string {
    return join(this.dir, "state");
  }
  get address(): string {
    return join(this.dir, "c.sock");
  }
  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  /** A container id nobody else uses. */
  id(name: string): string {
    const id = `${name}-${++this.#ids}-${this.tag}`;
    this.seen.add(`${this.namespace}/${id}`);
    return id;
  }

  /** A client in the test's namespace. */
  client(kind: ClientKind): Client {
    return new Client(clientProgram(kind), this.address, this.namespace);
  }

  log(): string {
    return readFileSync(join(this.dir, "log"), "utf8");
  }

  /** Starts the daemon. @returns milliseconds to its first answer */
  async start(): Promise<number> {
    const { command, path } = commandOf(this.kind, this.#bin);
    const [program, ...args] = command;
    const log = openSync(join(this.dir, "log"), "a");
    const began = performance.now();
    const child = spawn(program, [...args, "-c", join(this.dir, "config.toml")], {
      env: { ...process.env, PATH: [path, process.env["PATH"]].filter(Boolean).join(":"), NO_COLOR: "1" },
      stdio: ["ignore", log, log],
      detached: true,
    });
    this.#child = child;
    const probe = [join(peerBin("1.6"), "ctr"), "-a", this.address, "--connect-timeout", "1s", "version"];
    await until(
      `an answer of the daemon (${this.kind})`,
      () => {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`the daemon ended: ${this.log().slice(-2000)}`);
        return (
          existsSync(this.address) &&
          spawnSync(probe[0] ?? "", probe.slice(1), { timeout: 5_000 }).status === 0
        );
      },
      READY_MS,
    );
    return performance.now() - began;
  }

  /** Sends a signal and waits for the end. @returns whether it ended in 20 s; killed when it did not */
  async end(signal: NodeJS.Signals): Promise<boolean> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return true;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    let inTime = true;
    const hard = setTimeout(() => {
      inTime = false;
      child.kill("SIGKILL");
    }, 20_000);
    child.kill(signal);
    await gone;
    clearTimeout(hard);
    return inTime;
  }

  /** Ends the daemon, whatever shims and containers are left of it, and its folders. */
  async stop(): Promise<void> {
    await this.end("SIGTERM");
    for (const pid of strays(this)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // ended by itself
      }
    }
    await until("the end of what was killed", () => strays(this).length === 0).catch(() => {});
    for (const target of mountsBelow(this.dir)) spawnSync("umount", ["-l", target]);
    for (const path of cgroupsOf(this).reverse()) spawnSync("rmdir", [path]);
    for (const path of fifosOf(this)) rmSync(dirname(path), { recursive: true, force: true });
    rmSync(this.dir, { recursive: true, force: true });
    for (const path of [`/run/containerd/runc/${this.namespace}`])
      rmSync(path, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Starts a daemon. */
export async function startEngine(kind: EngineKind): Promise<Engine> {
  const engine = new Engine(kind);
  try {
    await engine.start();
  } catch (err) {
    await engine.stop();
    throw err;
  }
  return engine;
}
