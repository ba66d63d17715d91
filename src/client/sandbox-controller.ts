/** SandboxController over the sandbox controller service: `ctr`, and controllers that another process serves (proxy plugins). */
import { Controller } from "../api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import { internal } from "../core/errors.ts";
import type { SandboxController } from "../core/sandbox/sandbox.ts";
import { createClient } from "../rpc/client.ts";
import { fromAnyMaybe, fromLabels, fromTimestamp, toAny, toRecord } from "../rpc/convert/basic.ts";
import { fromPlatform, toMount } from "../rpc/convert/oci.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";
import { sandboxToWire } from "./sandbox.ts";

/** Makes the controller `sandboxer`; "" is the daemon's default. */
export function sandboxControllerClient(transport: Transport, sandboxer: string): SandboxController {
  const client = createClient(Controller, transport);
  return {
    async create(call, r) {
      const request = {
        sandboxId: r.sandbox.id,
        sandboxer,
        sandbox: sandboxToWire(r.sandbox),
        rootfs: r.rootfs.map(toMount),
        netnsPath: r.netns,
        annotations: toRecord(r.annotations),
        ...(r.options === undefined ? {} : { options: toAny(r.options) }),
      };
      await client.create(request, callOptions(call));
    },
    async start(call, sandboxId) {
      const s = await client.start({ sandboxId, sandboxer }, callOptions(call));
      const { pid, address, version } = s;
      return {
        pid,
        createdAt: fromTimestamp(s.createdAt),
        labels: fromLabels(s.labels),
        address,
        version,
        spec: fromAnyMaybe(s.spec),
      };
    },
    async platform(call, sandboxId) {
      const { platform } = await client.platform({ sandboxId, sandboxer }, callOptions(call));
      if (platform === undefined) throw internal(`platform of sandbox "${sandboxId}": empty answer`);
      return fromPlatform(platform);
    },
    async stop(call, sandboxId, timeoutSecs) {
      await client.stop({ sandboxId, sandboxer, timeoutSecs }, callOptions(call));
    },
    async wait(call, sandboxId) {
      const r = await client.wait({ sandboxId, sandboxer }, callOptions(call));
      return { status: r.exitStatus, exitedAt: fromTimestamp(r.exitedAt) };
    },
    async status(call, sandboxId, verbose) {
      const s = await client.status({ sandboxId, sandboxer, verbose }, callOptions(call));
      const { pid, state, address, version } = s;
      return {
        pid,
        state,
        info: fromLabels(s.info),
        createdAt: fromTimestamp(s.createdAt),
        exitedAt: s.exitedAt === undefined ? undefined : fromTimestamp(s.exitedAt),
        extra: fromAnyMaybe(s.extra),
        address,
        version,
      };
    },
    async shutdown(call, sandboxId) {
      await client.shutdown({ sandboxId, sandboxer }, callOptions(call));
    },
    async metrics(call, sandboxId) {
      const { metrics } = await client.metrics({ sandboxId, sandboxer }, callOptions(call));
      return { timestamp: fromTimestamp(metrics?.timestamp), data: fromAnyMaybe(metrics?.data) };
    },
    async update(call, sandbox, fields) {
      const request = {
        sandboxId: sandbox.id,
        sandboxer,
        sandbox: sandboxToWire(sandbox),
        fields: [...fields],
      };
      await client.update(request, callOptions(call));
    },
  };
}
