/**
 * The one executable. The mode is the name it was called by (`containerd`, `ctr`, `crictl`,
 * `containerd-shim-runc-v2`), else the first argument (`gantry daemon`, ...). Each mode is one literal lazy import, so
 * starting a mode loads only what it needs.
 */
import { compileLater } from "./platform/process/jit.ts";
import { callName } from "./platform/runtime.ts";

/** A mode's entry: gets its arguments, resolves with the exit code. */
interface Mode {
  main(args: string[]): Promise<number>;
  /** The streams that may hold something back at the end, for a mode that knows: to look at the others takes milliseconds. */
  madeStreams?(): NodeJS.WriteStream[];
}

const modes: Readonly<Record<string, () => Promise<Mode>>> = {
  daemon: () => import("./cmd/daemon/main.ts"),
  ctr: () => import("./cmd/ctr/main.ts"),
  crictl: () => import("./cmd/crictl/main.ts"),
  shim: () => import("./cmd/shim/main.ts"),
  unpack: () => import("./cmd/unpack/main.ts"),
  helper: () => import("./cmd/helper/main.ts"),
  "cri-log": () => import("./cmd/cri-log/main.ts"),
  "builtin-image": () => import("./cmd/builtin-image/main.ts"),
  check: () => import("./cmd/gantry/check.ts"),
  system: () => import("./cmd/gantry/system.ts"),
  gc: () => import("./cmd/gantry/gc.ts"),
  cni: () => import("./cmd/gantry/cni.ts"),
  doctor: () => import("./cmd/gantry/doctor.ts"),
  status: () => import("./cmd/gantry/status.ts"),
  "network-hook": () => import("./cmd/engine/hook.ts"),
};

/** Everyday commands: one program, whose first argument is the command. */
const everyday: readonly string[] =
  "run ps logs exec stop start restart kill rm images pull rmi inspect stats completion".split(" ");

/** Parts of the engine that know the namespace and the address of the daemon. */
const PARTS: readonly string[] = ["check", "system", "gc", "status"];
/** Flags of the whole program. */
const GLOBAL = /^(-n|--namespace|-a|--address|--debug)/;

/** Names the executable is linked as. */
const names: Readonly<Record<string, string>> = {
  containerd: "daemon",
  ctr: "ctr",
  crictl: "crictl",
  "containerd-shim-runc-v2": "shim",
};

const usage = `usage: gantry [-n NAMESPACE] COMMAND [ARGUMENTS]

everyday commands:
  run             run a container: gantry run -d --name web -p 8080:80 nginx
  ps              list containers
  logs, exec, inspect, stats      look at one
  stop, start, restart, kill, rm  change one
  images, pull, rmi               images
  completion      shell completion: gantry completion bash

parts of the engine:
  daemon          the container engine (also: called as "containerd")
  ctr             the client of containerd's API (also: called as "ctr")
  shim            the runtime v2 shim (also: called as "containerd-shim-runc-v2")
  builtin-image   write an image archive that is part of this executable to stdout
  status          the engine at a glance
  doctor          find and explain what is wrong on this host; --repair mends leftovers
  check           find damaged blobs and snapshots; --repair lets the next pull heal them
  system df       what uses the disk, and what could be freed
  cni             attach namespaces to CNI networks by hand: cni add|check|del NETWORK NETNS
  gc explain REF  what keeps an image, blob, snapshot or lease from being collected

Run "gantry COMMAND --help" for the options of a command.
`;

async function run(): Promise<number> {
  const args = process.argv.slice(2);
  const byName = names[callName()];
  // shims never compile: see smallProcessEnv
  if ((byName ?? args[0]) !== "shim") compileLater();
  if (byName !== undefined) return start(byName, args);
  const [mode, ...rest] = args;
  if (mode !== undefined && Object.hasOwn(modes, mode)) return start(mode, rest);
  if (mode !== undefined && (everyday.includes(mode) || GLOBAL.test(mode))) {
    const at = firstWord(args);
    const part = args[at] ?? "";
    // flags of the whole program stand before a part of the engine, too
    if (PARTS.includes(part)) return start(part, [...args.slice(at + 1), ...args.slice(0, at)]);
    return (await import("./cmd/engine/main.ts")).main(args);
  }
  if (mode === "--version" || mode === "-v" || mode === "version") {
    const { version, revision } = await import("./lib/version.ts");
    process.stdout.write(`gantry ${version} ${revision}\n`);
    return 0;
  }
  if (mode === "help" && rest[0] !== undefined) {
    const [about] = rest;
    if (Object.hasOwn(modes, about)) return start(about, ["--help"]);
    if (everyday.includes(about)) return (await import("./cmd/engine/main.ts")).main([about, "--help"]);
  }
  if (mode === undefined || mode === "--help" || mode === "-h" || mode === "help") {
    process.stdout.write(usage);
    return mode === undefined ? 1 : 0;
  }
  const { nearest } = await import("./cmd/shared/suggest.ts");
  const meant = nearest(mode, [...everyday, ...Object.keys(modes)]);
  const next = meant === undefined ? "gantry --help lists the commands" : `did you mean gantry ${meant}?`;
  process.stderr.write(`gantry: unknown command "${mode}"\n        ${next}\n`);
  return 1;
}

/** Where the first word is that is neither a flag of the whole program nor its value. */
function firstWord(args: readonly string[]): number {
  let at = 0;
  while (GLOBAL.test(args[at] ?? "")) at += /=|^--debug$|^-[na]./.test(args[at] ?? "") ? 1 : 2;
  return at;
}

async function start(mode: string, args: string[]): Promise<number> {
  const load = modes[mode];
  if (load === undefined) throw new Error(`mode "${mode}" is not part of this build`);
  const loaded = await load();
  if (loaded.madeStreams !== undefined) streams = loaded.madeStreams;
  return loaded.main(args);
}

const bothStreams = (): NodeJS.WriteStream[] => [process.stdout, process.stderr];
let streams = bothStreams;

/**
 * Waits until what was written to a stream has left the process: exit() would drop it. Its end tells; its length is 0 and an empty
 * write is done while all but the first 64 KiB wait for the reader of a pipe.
 */
function flushed(stream: NodeJS.WriteStream): Promise<unknown> {
  return new Promise((resolve) => {
    stream.once("error", resolve);
    if (stream.destroyed) resolve(stream.errored);
    else stream.end((err?: unknown) => resolve(err));
  });
}

const code = await run().catch((err: unknown) => {
  streams = bothStreams;
  process.stderr.write(`gantry: ${err instanceof Error ? err.message : String(err)}\n`);
  return 1;
});
for (const stream of streams()) {
  const lost = (await flushed(stream)) ?? undefined;
  if (lost !== undefined && stream === process.stdout)
    (await import("./cmd/shared/output.ts")).outputFailed(lost);
}
process.exit(code);
