/** The shim's server process: it holds the containers of one group. */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import { lazy } from "../../src/lib/lazy.ts";
import { type CgroupLayout, detectCgroups } from "../../src/platform/cgroups/cgroups.ts";
import { trimMemory } from "../../src/platform/process/memory.ts";
import { becomeSubreaper, ownChildren } from "../../src/platform/process/reaper.ts";
import { openLog } from "../shared/log.ts";
import { ForwardRequest } from "../shared/messages.ts";
import { createOutbox } from "../shared/outbox.ts";
import { Awake } from "../shared/rest.ts";
import { answerServe, receiveServeMessage, type ServeMessage } from "../shared/serve-message.ts";
import { sleepAfter, sleepWhenQuiet, type Woken } from "../shared/sleep.ts";
import { setTitle } from "../shared/title.ts";
import {
  createMethodClient,
  createMethodServer,
  type MethodServer,
  type ServerState,
} from "../shared/ttrpc.ts";
import { Container, type ContainerState } from "./container.ts";
import { createTaskEvents, type TaskEvents } from "./events.ts";
import { enterCgroup, raiseOomScore } from "./placement.ts";
import type { Sandboxes, SandboxStates } from "./sandbox.ts";
import { SANDBOX_METHODS, SANDBOX_SERVICE } from "./sandbox-names.ts";
import { createTaskService } from "./service.ts";

/** Time to hand over the last events before the process ends, in milliseconds. */
const FLUSH_MS = 5000;
/** Longest time that an answer to Shutdown waits for events to be handed over, in milliseconds. */
const TOLD_MS = 500;
/** A shim without container and connection for two of these periods ends by itself. Milliseconds. */
const IDLE_MS = 60_000;
const FORWARD_MS = 5000;
/**
 * Quiet time after which free memory is given back: later than a burst of starts lasts, since that costs 10 ms of the processor, and
 * later than the sleep, which does it better and for nothing. Milliseconds.
 */
const QUIET_MS = 6_000;
const AFTER_SLEEP_MS = 2_000;
/** One that sleeps later than this does not wait for that. Milliseconds. */
const LONG_MS = 30_000;
const SIGINT = 2;
const SIGUSR1 = 10;
const SIGTERM = 15;
/** Errors that say that the daemon read the event and does not want it. */
const REFUSED = new Set(["invalid-argument", "not-implemented", "failed-precondition"]);

/** What goes through the sleep of a shim. */
interface ShimState {
  readonly message: ServeMessage;
  readonly home: string;
  readonly log: number | undefined;
  readonly server: ServerState;
  readonly containers: readonly ContainerState[];
  readonly sandboxes: SandboxStates | undefined;
}

/** Serves until told to shut down. Never returns before. @returns exit code */
export async function serve(): Promise<number> {
  const layout = lazy(detectCgroups);
  // a spare has time for this, a container's start has not
  layout();
  const message = receiveServeMessage();
  if (message === undefined) return 0;
  process.chdir(message.bundle);
  setTitle(wordsOf(message));
  return await run(message, layout, undefined);
}

/** Goes on serving after a sleep. @returns exit code */
export async function wake(woken: Woken): Promise<number> {
  const { message } = woken.body as ShimState;
  return await run(message, lazy(detectCgroups), woken);
}

function wordsOf({ namespace, id, ttrpcAddress }: ServeMessage): string[] {
  const address = ttrpcAddress.replace(/\.ttrpc$/, "");
  return ["containerd-shim-runc-v2", "-namespace", namespace, "-id", id, "-address", address];
}

async function run(
  message: ServeMessage,
  layout: () => CgroupLayout,
  woken: Woken | undefined,
): Promise<number> {
  const before = woken?.body as ShimState | undefined;
  const { namespace, bundle, socket } = message;
  // Threads for more processors cost runc 1 ms of the 16 it computes, and it waits for the kernel anyway. Containers get their spec's
  // environment alone.
  process.env["GOMAXPROCS"] = "1";
  /** The bundle whose folder holds the files of the shim itself. */
  let home = before?.home ?? bundle;
  const logFile = openLog(join(home, "log"), message.debug, before?.log);
  const log = logFile.log.child({ id: message.id, namespace });
  const done = Promise.withResolvers<void>();

  const daemon = createMethodClient(
    message.ttrpcAddress.replace(/^unix:\/\//, ""),
    "containerd.services.events.ttrpc.v1.Events",
    "Forward",
    ForwardRequest,
    FORWARD_MS,
  );
  const outbox = createOutbox(
    join(home, "outbox"),
    (envelope) => daemon.call({ envelope }),
    (error) => REFUSED.has(codeOf(error)),
    log,
  );
  const eventsOf = new Map<string, TaskEvents>();
  let sandboxes: Sandboxes | undefined;
  const events = (of: string): TaskEvents => {
    const found = eventsOf.get(of) ?? createTaskEvents(of, outbox.push);
    eventsOf.set(of, found);
    return found;
  };
  const service = createTaskService({
    namespace,
    log,
    events,
    removed(container) {
      const next = service.containers.values().next().value;
      if (container.bundle !== home || next === undefined) return;
      // its folder goes now, and the shim stays for the others of its group
      home = next.bundle;
      process.chdir(home);
      outbox.moveTo(join(home, "outbox"));
      logFile.moveTo(join(home, "log"));
    },
    held: () => (sandboxes?.size ?? 0) > 0,
    layout,
    shutdown: () => done.resolve(),
    told: () => outbox.flush(TOLD_MS),
  });
  const methods = new Map(service.methods);
  const loadSandboxes = async (): Promise<Sandboxes> => {
    const loaded = await import("./sandbox.ts");
    sandboxes ??= new loaded.Sandboxes({
      log,
      containers: service.containers,
      shutdown: service.endWhenEmpty,
    });
    return sandboxes;
  };
  for (const name of SANDBOX_METHODS) {
    methods.set(`${SANDBOX_SERVICE}/${name}`, async (payload, of) =>
      (await loadSandboxes()).methods[name](payload, of),
    );
  }
  const baseMs = sleepAfter(message.sleepAfterMs);
  const trimMs = baseMs > LONG_MS ? QUIET_MS : Math.max(QUIET_MS, baseMs + AFTER_SLEEP_MS);
  // After some activity and then quiet, what it needed is given back.
  let quiet: NodeJS.Timeout | undefined;
  const onCall = (): void => {
    clearTimeout(quiet);
    quiet = setTimeout(trimMemory, trimMs);
  };
  const onAlone = (): void => {
    // nobody is there to start what was begun, and clients wait for what it holds
    for (const container of service.containers.values())
      container.giveUpExecs().catch((err: unknown) => log.warn("give up execs", { id: container.id, err }));
  };
  const server = createMethodServer(methods, onCall, onAlone);
  becomeSubreaper();
  if (before === undefined) {
    if (!(await announce(server, message))) return 0;
  } else {
    for (const state of before.containers) {
      const { namespace: of } = state.facts;
      service.adopt(await Container.restored(state, { layout, log, events: events(of) }), of);
    }
    if (before.sandboxes !== undefined) (await loadSandboxes()).adopt(before.sandboxes);
    await server.adopt(socket, before.server);
  }

  let ended = false;
  const held = (): boolean => service.containers.size > 0 || (sandboxes?.size ?? 0) > 0;
  const idle = (): boolean => !held() && server.connections === 0;
  let wasIdle = false;
  const idleTimer = setInterval(() => {
    if (idle() && wasIdle) done.resolve();
    wasIdle = idle();
  }, IDLE_MS);
  const onTerminate = (): void => {
    // Containers must not lose their shim by a signal meant for a whole group of processes.
    if (!held()) done.resolve();
    else log.warn("signal to end ignored: containers remain", { containers: service.containers.size });
  };
  const onDump = (): void => dump(log, service.containers.values(), outbox.size, server.connections);
  process.on("SIGTERM", onTerminate);
  process.on("SIGINT", onTerminate);
  process.on("SIGUSR1", onDump);
  process.on("uncaughtException", (error) => log.error("uncaught exception", { err: error }));
  process.on("unhandledRejection", (error) => log.error("unhandled rejection", { err: error }));

  woken?.done();
  if (woken?.signal === SIGUSR1) onDump();
  else if (woken?.signal === SIGTERM || woken?.signal === SIGINT) onTerminate();
  const sleep = sleepWhenQuiet({
    baseMs,
    quietMs: woken?.quietMs ?? baseMs,
    words: wordsOf(message),
    log,
    rest(kept): ShimState {
      if (!held()) throw new Awake("no container");
      if (ended || outbox.size > 0) throw new Awake("events to be told");
      const containers = [...service.containers.values()].map((container) => container.rest(kept));
      if (ownChildren() > containers.reduce((sum, state) => sum + loggersOf(state), 0))
        throw new Awake("a program runs");
      return {
        message,
        home,
        log: logFile.fd === undefined ? undefined : kept.keep(logFile.fd),
        server: server.rest(kept),
        containers,
        sandboxes: sandboxes?.rest(),
      };
    },
  });
  await done.promise;
  ended = true;
  sleep.stop();
  clearInterval(idleTimer);
  clearTimeout(quiet);
  // who needs a shim of this group from now on starts another
  await server.stopListening();
  await outbox.flush(FLUSH_MS);
  outbox.close();
  await server.close(1000);
  daemon.close();
  return 0;
}

/** Takes its place and its address, and tells whoever started it. @returns false when this shim is not wanted */
async function announce(server: MethodServer, message: ServeMessage): Promise<boolean> {
  raiseOomScore();
  try {
    enterCgroup(message.shimCgroup);
    mkdirSync(dirname(message.socket), { recursive: true, mode: 0o700 });
    await server.listen(message.socket);
  } catch (error) {
    answerServe(
      codeOf(error) === "already-exists"
        ? { status: "exists" }
        : { status: "error", message: messageOf(error) },
    );
    return false;
  }
  try {
    answerServe({ status: "ok", pid: process.pid });
    return true;
  } catch {
    // whoever wanted this shim was killed meanwhile, and nobody knows of it
    await server.stopListening();
    return false;
  }
}

/** Writes what the shim holds into its log. */
function dump(log: Logger, containers: Iterable<Container>, events: number, connections: number): void {
  for (const c of containers) log.info("dump", { container: c.id, state: c.init.phase.tag });
  log.info("dump", { events, rss: process.memoryUsage.rss(), connections });
}

/** Loggers that run: the only children of the runtime that a sleep may outlast. */
function loggersOf({ init, execs }: ContainerState): number {
  return [init, ...execs.processes].filter(({ io }) => (io?.logger ?? 0) > 0).length;
}
