import { Controller } from "../api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import type { NamespacedCall } from "../core/call.ts";
import { isNotFound, notFound } from "../core/errors.ts";
import type { EventPublisher } from "../core/events/events.ts";
import { checkIdentifier } from "../core/ids/namespace.ts";
import type { SandboxController, SandboxInput, SandboxStore } from "../core/sandbox/sandbox.ts";
import {
  fromAnyMaybe,
  fromRecord,
  toAnyMaybe,
  toRecord,
  toTimestamp,
  toTimestampMaybe,
} from "../rpc/convert/basic.ts";
import { fromMount, toPlatform } from "../rpc/convert/oci.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";
import { fromWire } from "./sandbox-store.ts";

/** Controller of a request that names none. */
const DEFAULT = "shim";

/** Sandbox controller service: each request goes to the controller it names. Publishes the life of sandboxes. */
export function sandboxControllerService(
  controllers: ReadonlyMap<string, SandboxController>,
  store: SandboxStore,
  events: EventPublisher,
): ServiceBinding {
  const find = (sandboxer: string): SandboxController => {
    const name = sandboxer === "" ? DEFAULT : sandboxer;
    const found = controllers.get(name);
    if (found === undefined) throw notFound(`sandbox controller "${name}"`);
    return found;
  };
  /** One event for each end, however many clients wait. */
  const watched = new Set<string>();
  const tellExit = (call: NamespacedCall, controller: SandboxController, sandboxId: string): void => {
    const key = `${call.namespace}/${sandboxId}`;
    if (watched.has(key)) return;
    watched.add(key);
    // lives longer than the request
    const own = call.with({ signal: new AbortController().signal, deadline: undefined }).in(call.namespace);
    controller
      .wait(own, sandboxId)
      .then((exit) => {
        const exitedAt = toTimestamp(exit.exitedAt);
        events.send(own, "/sandboxes/exit", { sandboxId, exitStatus: exit.status, exitedAt });
      })
      .catch((err: unknown) => {
        if (!isNotFound(err)) call.log.warn("wait for the end of a sandbox", { id: sandboxId, err });
      })
      .finally(() => watched.delete(key));
  };
  return bindService(Controller, {
    async create(r, { call: given }) {
      const call = given.namespaced();
      // it becomes the name of folders that are emptied before they are used
      checkIdentifier(r.sandboxId);
      // clients of containerd 1.7 name a record of the store instead
      const sandbox: SandboxInput =
        r.sandbox === undefined
          ? await store.get(call, r.sandboxId)
          : { ...fromWire(r.sandbox), id: r.sandboxId };
      await find(r.sandboxer).create(call, {
        sandbox,
        rootfs: r.rootfs.map(fromMount),
        options: fromAnyMaybe(r.options),
        netns: r.netnsPath,
        annotations: fromRecord(r.annotations),
      });
      events.send(call, "/sandboxes/create", { sandboxId: r.sandboxId });
      return { sandboxId: r.sandboxId };
    },
    async start({ sandboxId, sandboxer }, { call: given }) {
      const call = given.namespaced();
      const controller = find(sandboxer);
      const s = await controller.start(call, sandboxId);
      events.send(call, "/sandboxes/start", { sandboxId });
      tellExit(call, controller, sandboxId);
      const spec = toAnyMaybe(s.spec);
      return {
        sandboxId,
        pid: s.pid,
        createdAt: toTimestamp(s.createdAt),
        labels: toRecord(s.labels),
        address: s.address,
        version: s.version,
        ...(spec === undefined ? {} : { spec }),
      };
    },
    async platform({ sandboxId, sandboxer }, { call }) {
      return { platform: toPlatform(await find(sandboxer).platform(call.namespaced(), sandboxId)) };
    },
    async stop(r, { call }) {
      await find(r.sandboxer).stop(call.namespaced(), r.sandboxId, r.timeoutSecs);
      return {};
    },
    async wait({ sandboxId, sandboxer }, { call }) {
      const exit = await find(sandboxer).wait(call.namespaced(), sandboxId);
      return { exitStatus: exit.status, exitedAt: toTimestamp(exit.exitedAt) };
    },
    async status(r, { call }) {
      const s = await find(r.sandboxer).status(call.namespaced(), r.sandboxId, r.verbose);
      const exitedAt = toTimestampMaybe(s.exitedAt);
      const extra = toAnyMaybe(s.extra);
      return {
        sandboxId: r.sandboxId,
        pid: s.pid,
        state: s.state,
        info: toRecord(s.info),
        createdAt: toTimestamp(s.createdAt),
        address: s.address,
        version: s.version,
        ...(exitedAt === undefined ? {} : { exitedAt }),
        ...(extra === undefined ? {} : { extra }),
      };
    },
    async shutdown({ sandboxId, sandboxer }, { call }) {
      await find(sandboxer).shutdown(call.namespaced(), sandboxId);
      return {};
    },
    async metrics({ sandboxId, sandboxer }, { call }) {
      const m = await find(sandboxer).metrics(call.namespaced(), sandboxId);
      const data = toAnyMaybe(m.data);
      return {
        metrics: {
          id: sandboxId,
          timestamp: toTimestamp(m.timestamp),
          ...(data === undefined ? {} : { data }),
        },
      };
    },
    async update(r, { call }) {
      const sandbox = { ...fromWire(r.sandbox), id: r.sandboxId };
      await find(r.sandboxer).update(call.namespaced(), sandbox, r.fields);
      return {};
    },
  });
}
