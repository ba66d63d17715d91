/** Messages of the sandbox service, as tables (see wire.ts). Loaded by the first sandbox call only. */
import { Any, Mount, Timestamp } from "./messages.ts";
import {
  type Fields,
  type MessageType,
  message,
  messages,
  nested,
  string,
  stringMap,
  uint32,
} from "./wire.ts";

const sandbox = <const F extends Fields>(name: string, fields: F): MessageType<F> =>
  message(`containerd.runtime.sandbox.v1.${name}`, fields);
const byId = { sandboxId: string(1) };

export const CreateSandboxRequest = sandbox("CreateSandboxRequest", {
  ...byId,
  bundlePath: string(2),
  rootfs: messages(3, Mount),
  options: nested(4, Any),
  netnsPath: string(5),
  annotations: stringMap(6),
});
export const SandboxIdRequest = sandbox("StartSandboxRequest", byId);
export const StartSandboxResponse = sandbox("StartSandboxResponse", {
  pid: uint32(1),
  createdAt: nested(2, Timestamp),
  spec: nested(3, Any),
});
export const Platform = message("containerd.types.Platform", {
  os: string(1),
  architecture: string(2),
  variant: string(3),
});
export const PlatformResponse = sandbox("PlatformResponse", { platform: nested(1, Platform) });
export const StopSandboxRequest = sandbox("StopSandboxRequest", { ...byId, timeoutSecs: uint32(2) });
export const WaitSandboxResponse = sandbox("WaitSandboxResponse", {
  exitStatus: uint32(1),
  exitedAt: nested(2, Timestamp),
});
export const SandboxStatusResponse = sandbox("SandboxStatusResponse", {
  ...byId,
  pid: uint32(2),
  state: string(3),
  info: stringMap(4),
  createdAt: nested(5, Timestamp),
  exitedAt: nested(6, Timestamp),
  extra: nested(7, Any),
});
export const Metric = message("containerd.types.Metric", {
  timestamp: nested(1, Timestamp),
  id: string(2),
  data: nested(3, Any),
});
export const SandboxMetricsResponse = sandbox("SandboxMetricsResponse", { metrics: nested(1, Metric) });
