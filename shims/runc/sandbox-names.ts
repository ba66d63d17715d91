/** Names of the sandbox service, so that the service itself is loaded by its first call only. */
export const SANDBOX_SERVICE = "containerd.runtime.sandbox.v1.Sandbox";
export const SANDBOX_METHODS = [
  "CreateSandbox",
  "StartSandbox",
  "Platform",
  "StopSandbox",
  "WaitSandbox",
  "SandboxStatus",
  "PingSandbox",
  "ShutdownSandbox",
  "SandboxMetrics",
] as const;
export type SandboxMethod = (typeof SANDBOX_METHODS)[number];
