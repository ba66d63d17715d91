/**
 * Runs the daemon: folders, lock, config, plugins, readiness, signals. Shims and their containers outlive it.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Call } from "../../core/call.ts";
import { failedPrecondition, invalidArgument, messageOf } from "../../core/errors.ts";
import type { Introspection } from "../../core/introspection/introspection.ts";
import type { Logger } from "../../core/log.ts";
import { MetricRegistry } from "../../core/metrics/metrics.ts";
import { TRANSFER } from "../../core/plugin/kinds.ts";
import { INTROSPECTION } from "../../core/plugin/own-kinds.ts";
import type { DaemonFacts } from "../../core/plugin/plugin.ts";
import type { ImageTransfer } from "../../core/transfer/transfer.ts";
import { parseDuration } from "../../lib/human.ts";
import { revision, version } from "../../lib/version.ts";
import { joinCgroup } from "../../platform/cgroups/join.ts";
import { trimWhenQuiet } from "../../platform/process/memory.ts";
import { sdNotify } from "../../platform/process/notify.ts";
import type { RpcMetrics } from "../../rpc/interceptors/metrics.ts";
import { RPC_METRICS } from "../../rpc/kinds.ts";
import { type Booted, boot } from "./boot.ts";
import { builtins } from "./builtins.ts";
import { effectiveConfig, knownTables, pluginTables } from "./config/effective.ts";
import { type LoadedConfig, loadConfig } from "./config/load.ts";
import { isTable, type Table } from "./config/migrate.ts";
import { timeouts as defaultTimeouts } from "./config/schema.ts";
import type { DaemonFlags } from "./flags.ts";
import { createIntrospection } from "./introspection.ts";
import { lockRoot } from "./lock.ts";
import { createLogger, type LogSettings, parseLevel } from "./log.ts";
import { proxyBuiltins } from "./proxies.ts";
import { contentOf, startReloader } from "./reload.ts";

/** Default addresses. */
const DEFAULT_ADDRESS = "/run/containerd/containerd.sock";
/** Uri of the gRPC server's table. */
const GRPC = "io.containerd.server.v1.grpc";
const TTRPC = "io.containerd.server.v1.ttrpc";
const CRI_PLUGINS = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
];

/** Runs until a signal ends it. @returns the exit code */
export async function serve(flags: DaemonFlags): Promise<number> {
  const started = performance.now();
  // a HUP while the daemon still boots must neither end it nor get lost
  const hangup = { reload: (): void => {} };
  process.on("SIGHUP", () => hangup.reload());
  const known = await knownTables(builtins);
  const config = loadConfig(flags.config, flags.configGiven, known);
  const content = contentOf(flags.config, config);
  const settings = effectiveConfig(config.settings, known, {
    ...(flags.root === undefined ? {} : { root: flags.root }),
    ...(flags.state === undefined ? {} : { state: flags.state }),
  });
  const logSettings = logSettingsOf(settings, flags);
  const log = createLogger(logSettings);
  for (const w of config.warnings)
    log.warn("ignore configuration key", { file: w.file, line: w.line, key: w.key, reason: w.message });

  const facts = daemonFacts(settings, flags);
  prepareFolders(facts);
  using _lock = await lockRoot(facts.root);
  log.info("starting containerd", {
    version,
    revision,
    root: facts.root,
    state: facts.state,
    address: facts.address,
  });

  applyProcessSettings(settings, log);

  const stopping = new AbortController();
  const call = new Call({ signal: stopping.signal, log });
  // addresses are facts of this process: a reload compares with the ones in use
  const tablesOf = (c: LoadedConfig): ReturnType<typeof pluginTables> =>
    pluginTables(c, { [GRPC]: { address: facts.address }, [TTRPC]: { address: facts.ttrpcAddress } });
  const bootRef: { booted?: Booted } = {};
  const introspection = createIntrospection(
    () => bootRef.booted?.plugins ?? [],
    serverUuid(facts.root),
    bootRef,
  );
  const booted = await boot({
    builtins: [...builtins, ...proxyBuiltins(settings["proxy_plugins"], builtins, log)],
    facts,
    log,
    call,
    metrics: new MetricRegistry(),
    disabled: new Set(stringList(settings["disabled_plugins"])),
    required: new Set(stringList(settings["required_plugins"])),
    tables: tablesOf(config),
    provided: [{ type: INTROSPECTION.type, id: "local", instance: introspection satisfies Introspection }],
  });
  bootRef.booted = booted;
  const failed = booted.plugins.filter((p) => p.state === "error").map((p) => `${p.type}.${p.id}`);
  sdNotify(
    `READY=1\nSTATUS=${failed.length === 0 ? "running" : `running, failed plugins: ${failed.join(", ")}`}`,
  );
  const watchdog = startWatchdog();
  trimWhenQuiet();
  log.info("containerd successfully booted", {
    seconds: ((performance.now() - started) / 1000).toFixed(3),
    plugins: booted.plugins.length,
    failed: failed.length,
  });

  const reloader = startReloader(
    {
      load: () => {
        const next = loadConfig(flags.config, flags.configGiven, known);
        logSettingsOf(next.settings, flags); // refused before anything is changed
        return next;
      },
      tables: tablesOf,
      booted,
      // plugins that look into the whole configuration see the new one
      checked: (next) => {
        const { plugins } = effectiveConfig(next.settings, known);
        Object.assign(facts.settings, { plugins });
        for (const transfer of booted.instances(TRANSFER.type).values())
          (transfer as ImageTransfer).hostsChanged();
      },
      applyTop: (next, changed) => applyTop(next, changed, { flags, logSettings, settings, log }),
      log,
    },
    flags.config,
    config,
    content,
  );
  hangup.reload = () => void reloader.reload("SIGHUP");
  const signal = await ended(log, booted);
  reloader.close();
  log.info("stopping", { signal });
  sdNotify("STOPPING=1");
  clearInterval(watchdog);
  await booted.stop();
  stopping.abort();
  log.info("stopped");
  return 0;
}

function logSettingsOf(settings: Table, flags: DaemonFlags): LogSettings {
  const debug = isTable(settings["debug"]) ? settings["debug"] : {};
  const text =
    flags.logLevel ?? (typeof debug["level"] === "string" && debug["level"] !== "" ? debug["level"] : "info");
  const level = parseLevel(text);
  if (level === undefined)
    throw invalidArgument(`log level "${text}": not one of trace, debug, info, warn, error, fatal, panic`);
  return { level, format: debug["format"] === "json" ? "json" : "text" };
}

function daemonFacts(settings: Table, flags: DaemonFlags): DaemonFacts {
  const plugins = isTable(settings["plugins"]) ? settings["plugins"] : {};
  const addressOf = (uri: string): string => {
    const table = plugins[uri];
    const address = isTable(table) ? table["address"] : undefined;
    return typeof address === "string" ? address : "";
  };
  const state = text(settings["state"]);
  const address = flags.address ?? (addressOf(GRPC) || DEFAULT_ADDRESS);
  const ttrpcAddress = (flags.address === undefined ? addressOf(TTRPC) : "") || `${address}.ttrpc`;
  return {
    version,
    revision,
    root: text(settings["root"]),
    state,
    temp: text(settings["temp"]),
    address,
    ttrpcAddress,
    configPath: flags.config,
    timeout: (name, fallback) => {
      const timeouts = isTable(settings["timeouts"]) ? settings["timeouts"] : {};
      const value = timeouts[name];
      if (typeof value !== "string") return fallback;
      const ms = Number(parseDuration(value) / 1_000_000n);
      return ms > 0 ? ms : fallback;
    },
    settings: { ...settings, registry_mirrors: flags.mirrors, config_files: [flags.config] },
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function stringList(value: unknown): string[] {
  const names = Array.isArray(value) ? value.filter((v): v is string => typeof v === "string") : [];
  // version 1 and 2 files switch CRI off by its one old name
  return names.includes("io.containerd.grpc.v1.cri") || names.includes("cri")
    ? [...names, ...CRI_PLUGINS]
    : names;
}

/** root 0700 and state 0711 (S40): only root walks images, anybody may reach sockets that are opened to them. */
function prepareFolders(facts: DaemonFacts): void {
  for (const [path, mode] of [
    [facts.root, 0o700],
    [facts.state, 0o711],
  ] as const) {
    if (!path.startsWith("/")) throw invalidArgument(`folder "${path}": must be an absolute path`);
    if (existsSync(path) && !statSync(path).isDirectory())
      throw failedPrecondition(`folder "${path}": is not a directory`);
    mkdirSync(path, { recursive: true, mode });
    chmodSync(path, mode);
  }
  if (facts.root === facts.state)
    throw invalidArgument(`root and state must be different folders, both are "${facts.root}"`);
  rmSync(join(facts.root, "tmpmounts"), { recursive: true, force: true });
  if (facts.temp !== "") {
    mkdirSync(facts.temp, { recursive: true, mode: 0o700 });
    process.env["TMPDIR"] = facts.temp;
  }
}

/** Settings of the process itself. As in containerd, a score the kernel refuses is told, a cgroup is fatal. */
function applyProcessSettings(settings: Table, log: Logger): void {
  const score = settings["oom_score"];
  if (typeof score === "number" && score !== 0) {
    try {
      writeFileSync("/proc/self/oom_score_adj", String(score));
    } catch (err) {
      log.warn("set oom_score of the daemon", { oom_score: score, err });
    }
  }
  const cgroup = settings["cgroup"];
  const path = isTable(cgroup) ? cgroup["path"] : undefined;
  if (typeof path === "string" && path !== "") enterCgroup(path, log);
}

/** @throws invalid-argument, or failed-precondition when the kernel refuses */
function enterCgroup(path: string, log: Logger): void {
  if (!path.startsWith("/") || path.split("/").includes(".."))
    throw invalidArgument(`cgroup.path "${path}": must be absolute and without ".."`);
  try {
    log.info("joined the cgroup of the configuration", { path, folders: joinCgroup(path).length });
  } catch (err) {
    throw failedPrecondition(`cgroup.path "${path}": ${messageOf(err)}`, {
      cause: err,
      hint: "with cgroup v2 the daemon can only be in a cgroup that hands no controllers on to others below it",
    });
  }
}

/** Identity of this installation, kept in the root. */
function serverUuid(root: string): string {
  const path = join(root, "uuid");
  if (existsSync(path)) {
    const old = readFileSync(path, "utf8").trim();
    if (/^[0-9a-f-]{36}$/.test(old)) return old;
  }
  const fresh = randomUUID();
  writeFileSync(path, fresh, { mode: 0o600 });
  return fresh;
}

function startWatchdog(): NodeJS.Timeout | undefined {
  const usec = Number(process.env["WATCHDOG_USEC"] ?? "");
  if (!(usec > 0)) return undefined;
  return setInterval(() => sdNotify("WATCHDOG=1"), usec / 2000);
}

/** Takes the keys outside of `plugins` that can change live: log level and format, timeouts. @returns the taken ones */
function applyTop(
  next: Table,
  changed: readonly string[],
  now: { flags: DaemonFlags; logSettings: LogSettings; settings: Table; log: Logger },
): string[] {
  const taken: string[] = [];
  if (changed.includes("debug")) {
    Object.assign(now.logSettings, logSettingsOf(next, now.flags));
    taken.push("debug");
  }
  if (changed.includes("timeouts")) {
    const timeouts = isTable(next["timeouts"]) ? next["timeouts"] : {};
    now.settings["timeouts"] = { ...defaultTimeouts, ...timeouts };
    taken.push("timeouts");
  }
  return taken;
}

/** Resolves with the signal that asks the daemon to stop. USR1 writes a dump and goes on. */
function ended(log: Logger, booted: Booted): Promise<string> {
  process.on("SIGPIPE", () => {});
  process.on("SIGUSR1", () => void dump(log, booted));
  process.on("uncaughtException", (err) => log.error("uncaught exception", { err, stack: err.stack }));
  process.on("unhandledRejection", (err) =>
    log.error("unhandled rejection", {
      err: messageOf(err),
      stack: err instanceof Error ? err.stack : undefined,
    }),
  );
  return new Promise((resolve) => {
    process.once("SIGTERM", () => resolve("terminated"));
    process.once("SIGINT", () => resolve("interrupt"));
  });
}

/** Memory and open calls, into the log and into `<tmp>/containerd.PID.stacks.log`, where containerd puts its stacks. */
async function dump(log: Logger, booted: Booted): Promise<void> {
  const memory = process.memoryUsage();
  const { openCalls } = await import("../../plugins/servers/debug.ts");
  const rpc = booted.instances(RPC_METRICS.type).get("grpc-prometheus") as
    | { metrics: RpcMetrics }
    | undefined;
  const calls = openCalls(rpc?.metrics.open() ?? []);
  log.info("dump", {
    uptime: process.uptime(),
    rss: memory.rss,
    heap: memory.heapUsed,
    external: memory.external,
    calls,
  });
  const path = join(tmpdir(), `containerd.${process.pid}.stacks.log`);
  try {
    writeFileSync(path, `${new Date().toISOString()}\n${JSON.stringify(memory)}\n${calls}`, { mode: 0o600 });
    log.info("dump written", { path });
  } catch (err) {
    log.warn("write dump", { path, err });
  }
}
