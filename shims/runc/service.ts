/** The task service, version 2 and 3 alike: both have the same messages in two packages. */
import { isAbsolute } from "node:path";
import { alreadyExists, invalidArgument, notFound, unavailable } from "../../src/core/errors.ts";
import { version } from "../../src/lib/version.ts";
import {
  ByExecRequest,
  ByIdRequest,
  ConnectResponse,
  CreateTaskRequest,
  DeleteResponse,
  Empty,
  PidResponse,
} from "../shared/messages.ts";
import { type Method, method } from "../shared/ttrpc.ts";
import { Container, type ContainerHost } from "./container.ts";
import { containerMethods, ended } from "./container-methods.ts";
import type { TaskEvents } from "./events.ts";
import { parseOptions } from "./options.ts";

/** Packages of the service, newest last; a daemon speaks one of them. */
const PACKAGES = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/** What the service needs of the process it runs in. */
export interface TaskServiceHost extends Omit<ContainerHost, "events"> {
  /** Namespace of callers that name none. */
  readonly namespace: string;
  /** Events of a namespace. */
  readonly events: (namespace: string) => TaskEvents;
  /** Called when a container was removed; its bundle goes next. */
  readonly removed: (container: Container) => void;
  /** True while a sandbox needs the shim, container or not. */
  readonly held: () => boolean;
  /** Called when the last container is gone and the daemon asked the shim to end. */
  readonly shutdown: () => void;
  /** Resolves when the daemon has all events until now, with a bound. */
  readonly told: () => Promise<void>;
}

/** The task service of one shim. */
export interface TaskService {
  /** Containers now, by `NAMESPACE/ID`. */
  readonly containers: ReadonlyMap<string, Container>;
  /** Adds a container of before the sleep. */
  readonly adopt: (container: Container, namespace: string) => void;
  /** By `package.Service/Method`, for every package. */
  readonly methods: ReadonlyMap<string, Method>;
  /** Ends the shim unless it holds something. */
  readonly endWhenEmpty: () => void;
}

export function createTaskService(host: TaskServiceHost): TaskService {
  const containers = new Map<string, Container>();
  const creating = new Set<string>();
  let ending = false;
  const keyOf = (id: string, namespace: string): string => `${namespace || host.namespace}/${id}`;
  const find = (id: string, namespace: string): Container => {
    const found = containers.get(keyOf(id, namespace));
    if (found === undefined) throw notFound("container not created");
    return found;
  };

  const endWhenEmpty = (): void => {
    if (containers.size > 0 || creating.size > 0 || host.held()) return;
    ending = true;
    host.shutdown();
  };

  const create = method(CreateTaskRequest, PidResponse, async (r, namespace) => {
    // whoever shares this shim starts another one
    if (ending) throw unavailable("shim is shutting down");
    if (!isAbsolute(r.bundle))
      throw invalidArgument(`create task ${r.id}: bundle "${r.bundle}" is not absolute`);
    const key = keyOf(r.id, namespace);
    if (containers.has(key) || creating.has(key)) throw alreadyExists(`task ${r.id}`);
    creating.add(key);
    try {
      const { id, bundle, stdin, stdout, stderr, terminal, checkpoint } = r;
      const rootfs = r.rootfs.map((m) => ({
        type: m.type ?? "",
        source: m.source ?? "",
        target: m.target ?? "",
        options: m.options ?? [],
      }));
      const options = parseOptions(r.options);
      const facts = { id, bundle, rootfs, checkpoint, stdin, stdout, stderr, terminal, options };
      const where = namespace || host.namespace;
      const { layout, log } = host;
      const container = await Container.create(
        { ...facts, namespace: where },
        { layout, log, events: host.events(where) },
      );
      containers.set(key, container);
      return { pid: container.init.pid };
    } finally {
      creating.delete(key);
    }
  });

  const remove = method(ByExecRequest, DeleteResponse, async (r, ns) => {
    const container = find(r.id, ns);
    if (r.execId !== "") {
      const exit = await container.deleteExec(r.execId);
      return { pid: exit.pid, ...ended(exit) };
    }
    const exit = await container.delete();
    containers.delete(keyOf(r.id, ns));
    host.removed(container);
    return { pid: exit.pid, ...ended(exit) };
  });

  const table: Readonly<Record<string, Method>> = {
    ...containerMethods(find),
    Create: create,
    Delete: remove,
    Connect: method(ByIdRequest, ConnectResponse, (r, ns) => {
      const taskPid = containers.get(keyOf(r.id, ns))?.init.pid ?? 0;
      return { shimPid: process.pid, taskPid, version };
    }),
    Shutdown: method(ByIdRequest, Empty, async () => {
      endWhenEmpty();
      // the daemon asks after each Delete, before it answers the client: whose next steps have events of their own
      await host.told();
      return {};
    }),
  };
  const methods = new Map<string, Method>();
  for (const name of PACKAGES)
    for (const [key, value] of Object.entries(table)) methods.set(`${name}/${key}`, value);
  const adopt = (container: Container, namespace: string): void => {
    containers.set(keyOf(container.id, namespace), container);
  };
  return { containers, adopt, methods, endWhenEmpty };
}
