/** The shim's server process: it holds the containers of one group. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { lazy } from "../../src/lib/lazy.ts";
import { detectCgroups } from "../../src/platform/cgroups/cgroups.ts";
import { trimMemory } from "../../src/platform/process/memory.ts";
import { becomeSubreaper } from "../../src/platform/process/reaper.ts";
import { openLog } from "../shared/log.ts";
import { ForwardRequest } from "../shared/messages.ts";
import { createOutbox } from "../shared/outbox.ts";
import { answerServe, receiveServeMessage } from "../shared/serve-message.ts";
import { setTitle } from "../shared/title.ts";
import { createMethodClient, createMethodServer } from "../shared/ttrpc.ts";
import { createTaskEvents, type TaskEvents } from "./events.ts";
import type { Sandboxes } from "./sandbox.ts";
import { SANDBOX_METHODS, SANDBOX_SERVICE } from "./sandbox-names.ts";
import { createTaskService } from "./service.ts";

/** Time to hand over the last events before the process ends, in milliseconds. */
const FLUSH_MS = 5000;
/** A shim without container and connection for two of these periods ends by itself. Milliseconds. */
const IDLE_MS = 60_000;
const FORWARD_MS = 5000;
/** Quiet time after which free memory is given back. */
const QUIET_MS = 1500;
/** Errors that say that the daemon read the event and does not want it. */
const REFUSED = new Set(["invalid-argument", "not-implemented", "failed-precondition"]);

/** Serves until told to shut down. Never returns before. @returns exit code */
export async function serve(): Promise<number> {
  const layout = lazy(detectCgroups);
  // a spare has time for this, a container's start has not
  layout();
  const message = receiveServeMessage();
  if (message === undefined) return 0;
  const { namespace, bundle, socket } = message;
  process.chdir(bundle);
  const address = message.ttrpcAddress.replace(/\.ttrpc$/, "");
  setTitle(["containerd-shim-runc-v2", "-namespace", namespace, "-id", message.id, "-address", address]);
  const logFile = openLog(join(bundle, "log"), message.debug);
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
    join(bundle, "outbox"),
    (envelope) => daemon.call({ envelope }),
    (error) => REFUSED.has(codeOf(error)),
    log,
  );
  const eventsOf = new Map<string, TaskEvents>();
  let sandboxes: Sandboxes | undefined;
  /** The bundle whose folder holds the files of the shim itself. */
  let home = bundle;
  const service = createTaskService({
    namespace,
    log,
    events(of) {
      const found = eventsOf.get(of) ?? createTaskEvents(of, outbox.push);
      eventsOf.set(of, found);
      return found;
    },
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
  });
  const methods = new Map(service.methods);
  for (const name of SANDBOX_METHODS) {
    methods.set(`${SANDBOX_SERVICE}/${name}`, async (payload, of) => {
      const loaded = await import("./sandbox.ts");
      sandboxes ??= new loaded.Sandboxes({
        log,
        containers: service.containers,
        shutdown: service.endWhenEmpty,
      });
      return await sandboxes.methods[name](payload, of);
    });
  }
  // After some activity and then quiet, what it needed is given back.
  let quiet: NodeJS.Timeout | undefined;
  const onCall = (): void => {
    clearTimeout(quiet);
    quiet = setTimeout(trimMemory, QUIET_MS);
  };
  const server = createMethodServer(methods, onCall);
  becomeSubreaper();
  raiseOomScore();
  try {
    enterCgroup(message.shimCgroup);
    mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
    await server.listen(socket);
  } catch (error) {
    answerServe(
      codeOf(error) === "already-exists"
        ? { status: "exists" }
        : { status: "error", message: messageOf(error) },
    );
    return 0;
  }
  answerServe({ status: "ok", pid: process.pid });

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
  process.on("SIGTERM", onTerminate);
  process.on("SIGINT", onTerminate);
  process.on("SIGUSR1", () => {
    for (const c of service.containers.values())
      log.info("dump", { container: c.id, state: c.init.phase.tag });
    log.info("dump", {
      events: outbox.size,
      rss: process.memoryUsage.rss(),
      connections: server.connections,
    });
  });
  process.on("uncaughtException", (error) => log.error("uncaught exception", { err: error }));
  process.on("unhandledRejection", (error) => log.error("unhandled rejection", { err: error }));

  await done.promise;
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

/** One above the daemon's own, so that the kernel kills the shim before the daemon and long after containers. */
function raiseOomScore(): void {
  const path = "/proc/self/oom_score_adj";
  try {
    const score = Number.parseInt(readFileSync(path, "utf8"), 10);
    writeFileSync(path, String(Math.min(score + 1, 1000)));
  } catch {
    // A shim with the daemon's score still works.
  }
}

/** Moves this process into a cgroup of its own, made when missing. */
function enterCgroup(path: string): void {
  if (path === "") return;
  const layout = detectCgroups();
  const mounts = layout.mode === "v2" ? [layout.v2] : [...new Set(layout.v1.values())];
  for (const mount of mounts) {
    if (mount === undefined) continue;
    let folder = mount.target;
    for (const name of join("/", path).split("/").filter(Boolean)) {
      const parent = folder;
      folder = join(parent, name);
      mkdirSync(folder, { recursive: true });
      // a cpuset that was just made has no processor: nothing can enter it
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        const own = join(folder, file);
        if (layout.mode !== "v2" && existsSync(own) && readFileSync(own, "utf8").trim() === "")
          writeFileSync(own, readFileSync(join(parent, file)));
      }
    }
    writeFileSync(join(folder, "cgroup.procs"), String(process.pid));
  }
}
