/**
 * The sandbox service: a group of containers that lives in this shim. It has no process of its own (no pause container): it is
 * ready from Start until Stop, keeps the shim alive until Shutdown, and ends what runs in it when it is stopped.
 *
 *     created --start--> ready --stop--> stopped --shutdown--> (forgotten; the shim ends with its last container)
 */
import { alreadyExists, failedPrecondition, messageOf, notFound } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import { createDeferred, type Deferred } from "../../src/lib/deferred.ts";
import { nowNs, splitNs } from "../../src/lib/time.ts";
import { Empty } from "../shared/messages.ts";
import {
  CreateSandboxRequest,
  PlatformResponse,
  SandboxIdRequest,
  SandboxMetricsResponse,
  SandboxStatusResponse,
  StartSandboxResponse,
  StopSandboxRequest,
  WaitSandboxResponse,
} from "../shared/sandbox-messages.ts";
import { type Method, method } from "../shared/ttrpc.ts";
import type { Container } from "./container.ts";
import type { SandboxMethod } from "./sandbox-names.ts";

const SIGTERM = 15;
const SIGKILL = 9;

/** What the service needs of the shim. */
export interface SandboxHost {
  readonly log: Logger;
  readonly containers: ReadonlyMap<string, Container>;
  /** Ends the shim when it holds nothing more. */
  readonly shutdown: () => void;
}

/** What goes through the shim's sleep, by id. */
export type SandboxStates = readonly {
  readonly id: string;
  readonly netns: string;
  readonly createdAt: bigint;
  readonly state: Sandbox["state"];
  readonly exitedAt: bigint;
}[];

interface Sandbox {
  readonly netns: string;
  readonly createdAt: bigint;
  state: "created" | "ready" | "stopped";
  exitedAt: bigint;
  readonly ended: Deferred<void>;
}

/** See the file's comment. */
export class Sandboxes {
  readonly #host: SandboxHost;
  readonly #all = new Map<string, Sandbox>();
  readonly methods: Readonly<Record<SandboxMethod, Method>>;

  constructor(host: SandboxHost) {
    this.#host = host;
    const status = (s: Sandbox): string => (s.state === "ready" ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
    this.methods = {
      CreateSandbox: method(CreateSandboxRequest, Empty, (r) => {
        if (this.#all.has(r.sandboxId)) throw alreadyExists(`sandbox ${r.sandboxId}`);
        const ended = createDeferred<void>();
        this.#all.set(r.sandboxId, {
          netns: r.netnsPath,
          createdAt: nowNs(),
          state: "created",
          exitedAt: 0n,
          ended,
        });
        return {};
      }),
      StartSandbox: method(SandboxIdRequest, StartSandboxResponse, (r) => {
        const s = this.#find(r.sandboxId);
        if (s.state !== "created") throw failedPrecondition(`cannot start a ${s.state} sandbox`);
        s.state = "ready";
        return { pid: process.pid, createdAt: splitNs(s.createdAt) };
      }),
      Platform: method(SandboxIdRequest, PlatformResponse, (r) => {
        this.#find(r.sandboxId);
        return { platform: { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch } };
      }),
      StopSandbox: method(StopSandboxRequest, Empty, async (r) => {
        const s = this.#find(r.sandboxId);
        await this.#end(s, r.timeoutSecs * 1000);
        return {};
      }),
      WaitSandbox: method(SandboxIdRequest, WaitSandboxResponse, async (r) => {
        const s = this.#find(r.sandboxId);
        await s.ended.promise;
        return { exitStatus: 0, exitedAt: splitNs(s.exitedAt) };
      }),
      SandboxStatus: method(SandboxIdRequest, SandboxStatusResponse, (r) => {
        const s = this.#find(r.sandboxId);
        return {
          sandboxId: r.sandboxId,
          pid: process.pid,
          state: status(s),
          info: new Map([
            ["netns", s.netns],
            ["containers", [...this.#host.containers.values()].map((c) => c.id).join(",")],
          ]),
          createdAt: splitNs(s.createdAt),
          ...(s.exitedAt === 0n ? {} : { exitedAt: splitNs(s.exitedAt) }),
        };
      }),
      PingSandbox: method(SandboxIdRequest, Empty, (r) => {
        this.#find(r.sandboxId);
        return {};
      }),
      ShutdownSandbox: method(SandboxIdRequest, Empty, async (r) => {
        await this.#end(this.#find(r.sandboxId), 0);
        this.#all.delete(r.sandboxId);
        this.#host.shutdown();
        return {};
      }),
      SandboxMetrics: method(SandboxIdRequest, SandboxMetricsResponse, (r) => {
        this.#find(r.sandboxId);
        return { metrics: { id: r.sandboxId, timestamp: splitNs(nowNs()) } };
      }),
    };
  }

  /** Their state for the shim's sleep. */
  rest(): SandboxStates {
    return [...this.#all].map(([id, { ended: _, ...rest }]) => ({ id, ...rest }));
  }

  /** Goes on from there. */
  adopt(states: SandboxStates): void {
    for (const { id, ...rest } of states) {
      const ended = createDeferred<void>();
      if (rest.state === "stopped") ended.resolve();
      this.#all.set(id, { ...rest, ended });
    }
  }

  /** Sandboxes that were not shut down. */
  get size(): number {
    return this.#all.size;
  }

  #find(id: string): Sandbox {
    const found = this.#all.get(id);
    if (found === undefined) throw notFound(`sandbox ${id}`);
    return found;
  }

  /** Ends the containers that run, gently for `graceMs`, and then the sandbox. */
  async #end(sandbox: Sandbox, graceMs: number): Promise<void> {
    if (sandbox.state === "stopped") return;
    const running = [...this.#host.containers.values()].filter((c) => c.init.alive);
    await Promise.all(running.map((c) => this.#endContainer(c, graceMs)));
    sandbox.state = "stopped";
    sandbox.exitedAt = nowNs();
    sandbox.ended.resolve();
  }

  async #endContainer(container: Container, graceMs: number): Promise<void> {
    const kill = (signal: number): Promise<void> =>
      container.kill("", signal, false).catch((error: unknown) => {
        this.#host.log.debug("end container of sandbox", { id: container.id, reason: messageOf(error) });
      });
    let timer: NodeJS.Timeout | undefined;
    if (graceMs > 0) {
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, graceMs);
      });
      await kill(SIGTERM);
      await Promise.race([container.init.wait(), late]);
      clearTimeout(timer);
    }
    if (!container.init.alive) return;
    await kill(SIGKILL);
    await container.init.wait();
  }
}
