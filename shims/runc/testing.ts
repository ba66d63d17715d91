/** For tests: bundles with a busybox rootfs, a daemon's event socket, and shims started by the public protocol. Needs root and runc. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  BootstrapParamsSchema,
  BootstrapResultSchema,
} from "../../src/api/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.ts";
import { Sandbox } from "../../src/api/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import { Task as TaskV2 } from "../../src/api/gen/containerd/runtime/task/v2/shim_pb.ts";
import { Task as TaskV3 } from "../../src/api/gen/containerd/runtime/task/v3/shim_pb.ts";
import { Events } from "../../src/api/gen/containerd/services/ttrpc/events/v1/events_pb.ts";
import type { Envelope } from "../../src/api/gen/containerd/types/event_pb.ts";
import { run } from "../../src/platform/process/spawn.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createTtrpcServer } from "../../src/rpc/ttrpc/server.ts";
import { createTtrpcTransport } from "../../src/rpc/ttrpc/transport.ts";
import { bindService, type Client } from "../../src/rpc/types.ts";

const BUSYBOX = "/bin/busybox";

/** Undefined when the machine can run these tests, else why not. */
export function cannotRun(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync(BUSYBOX)) return "needs busybox-static";
  return existsSync("/usr/sbin/runc") || existsSync("/usr/bin/runc") ? undefined : "needs runc";
}

/** A daemon as far as a shim sees it: a folder and a socket for events. */
export interface FakeDaemon extends AsyncDisposable {
  readonly dir: string;
  readonly events: Envelope[];
  /** Resolves with the first event, past or to come, that fits. */
  event(topic: string, fits?: (e: Envelope) => boolean): Promise<Envelope>;
  stopEvents(): Promise<void>;
  startEvents(): Promise<void>;
  bundle(id: string, args: string[], change?: (spec: Spec) => void): string;
}

export interface Spec {
  process: { terminal: boolean; args: string[]; cwd: string; env: string[]; [key: string]: unknown };
  annotations?: Record<string, string>;
  linux: { namespaces: { type: string; path?: string }[]; resources?: unknown; [key: string]: unknown };
  [key: string]: unknown;
}

export async function fakeDaemon(): Promise<FakeDaemon> {
  const dir = mkdtempSync(join(tmpdir(), "gantry-shim-"));
  const events: Envelope[] = [];
  const waiting = new Set<() => void>();
  const make = () =>
    createTtrpcServer({
      services: [
        bindService(Events, {
          forward(r) {
            if (r.envelope !== undefined) events.push(r.envelope);
            for (const wake of waiting) wake();
            return {};
          },
        }),
      ],
    });
  let server = make();
  await server.listen({ path: join(dir, "d.sock.ttrpc"), mode: 0o600 });
  return {
    dir,
    events,
    async event(topic, fits = () => true) {
      for (;;) {
        const found = events.find((e) => e.topic === topic && fits(e));
        if (found !== undefined) return found;
        await new Promise<void>((wake) => {
          const once = (): void => {
            waiting.delete(once);
            wake();
          };
          waiting.add(once);
        });
      }
    },
    stopEvents: () => server.close(),
    async startEvents() {
      server = make();
      await server.listen({ path: join(dir, "d.sock.ttrpc"), mode: 0o600 });
    },
    bundle(id, args, change) {
      const bundle = join(dir, "state", id);
      mkdirSync(join(bundle, "rootfs"), { recursive: true, mode: 0o700 });
      writeFileSync(join(bundle, "config.json"), JSON.stringify(specOf(id, args, change)));
      return bundle;
    },
    async [Symbol.asyncDispose]() {
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A rootfs with busybox under `dir`, made once. */
export function busyboxRoot(dir: string): string {
  const root = join(dir, "busybox");
  if (existsSync(root)) return root;
  for (const name of ["bin", "proc", "dev", "sys", "tmp", "etc"])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync(BUSYBOX, join(root, "bin/busybox"));
  for (const name of ["sh", "true", "sleep", "cat", "echo", "stty", "kill", "ls", "dd", "id", "stat", "awk"])
    symlinkSync("busybox", join(root, "bin", name));
  return root;
}

/** A mount of a rootfs, as a client sends it. */
export function rootMount(root: string) {
  return [{ type: "bind", source: root, options: ["rbind", "ro"] }];
}

function specOf(id: string, args: string[], change?: (spec: Spec) => void): Spec {
  const spec: Spec = {
    ociVersion: "1.0.2",
    process: { terminal: false, user: { uid: 0, gid: 0 }, args, env: ["PATH=/bin"], cwd: "/" },
    root: { path: "rootfs" },
    hostname: "box",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["newinstance", "ptmxmode=0666"],
      },
    ],
    linux: {
      cgroupsPath: `/gantry-test/${id}`,
      namespaces: ["pid", "ipc", "uts", "mount"].map((type) => ({ type })),
    },
  };
  change?.(spec);
  return spec;
}

/** How the shim under test is called: this source under this runtime, or SHIM_UNDER_TEST. */
function shimCommand(): { command: string; prefix: string[] } {
  const given = process.env["SHIM_UNDER_TEST"];
  if (given !== undefined) return { command: given, prefix: [] };
  return { command: process.execPath, prefix: [resolve(import.meta.dirname, "../../src/main.ts"), "shim"] };
}

export interface StartedShim {
  readonly address: string;
  readonly v2: Client<typeof TaskV2>;
  readonly v3: Client<typeof TaskV3>;
  readonly sandbox: Client<typeof Sandbox>;
  readonly output: Uint8Array;
  close(): Promise<void>;
}

/** Runs an action of the shim in the bundle. */
export async function callShim(
  daemon: FakeDaemon,
  id: string,
  bundle: string,
  action: string,
  stdin: Uint8Array,
) {
  const { command, prefix } = shimCommand();
  const args = [
    "-namespace",
    "test",
    "-address",
    join(daemon.dir, "d.sock"),
    "-publish-binary",
    "/bin/true",
    "-id",
    id,
  ];
  return await run(command, [...prefix, ...args, action], {
    stdin,
    cwd: bundle,
    until: "exit",
    env: { ...process.env, TTRPC_ADDRESS: join(daemon.dir, "d.sock.ttrpc"), MAX_SHIM_VERSION: "2" },
  });
}

/** Starts a shim by one of the two protocols and connects to it. */
export async function startShim(
  daemon: FakeDaemon,
  id: string,
  bundle: string,
  protocol: "old" | "new",
  options?: { readonly typeUrl: string; readonly value: Uint8Array<ArrayBuffer> },
): Promise<StartedShim> {
  const params = toBinary(
    BootstrapParamsSchema,
    create(BootstrapParamsSchema, {
      instanceId: id,
      namespace: "test",
      containerdGrpcAddress: join(daemon.dir, "d.sock"),
      containerdTtrpcAddress: join(daemon.dir, "d.sock.ttrpc"),
      socketDir: join(daemon.dir, "s"),
      extensions: options === undefined ? [] : [{ value: options }],
    }),
  );
  const done = await callShim(daemon, id, bundle, "start", protocol === "new" ? params : new Uint8Array());
  if (done.code !== 0) throw new Error(`start: ${new TextDecoder().decode(done.stderr)}`);
  const address =
    protocol === "new"
      ? fromBinary(BootstrapResultSchema, done.stdout).address
      : new TextDecoder().decode(done.stdout);
  const transport = createTtrpcTransport({ path: address.replace("unix://", "") });
  return {
    address,
    output: done.stdout,
    v2: createClient(TaskV2, transport),
    v3: createClient(TaskV3, transport),
    sandbox: createClient(Sandbox, transport),
    close: () => transport.close(),
  };
}
