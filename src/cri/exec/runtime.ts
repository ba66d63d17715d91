import { rmSync } from "node:fs";
import { unknownError, wrap } from "../../core/errors.ts";
import { forwardIntoNetns } from "../streaming/netns-forward.ts";
import type { StreamingRuntime } from "../streaming/runtime.ts";
import { attach } from "./attach.ts";
import type { ExecDeps } from "./deps.ts";
import { streamExec } from "./exec.ts";
import { type ExecSyncResult, execSync } from "./exec-sync.ts";

/** Commands in containers: what the streaming server runs, and ExecSync. */
export interface ExecRuntime extends StreamingRuntime {
  /** See {@link execSync}. */
  execSync(
    containerId: string,
    command: readonly string[],
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<ExecSyncResult>;
}

/** Makes it; FIFOs that an earlier daemon left are removed (their readers are gone with it). */
export function createExecRuntime(deps: ExecDeps): ExecRuntime {
  rmSync(deps.ioDir, { recursive: true, force: true });
  return {
    execSync: (id, command, timeoutMs, signal) => execSync(deps, id, command, timeoutMs, signal),
    exec: (request, streams) => streamExec(deps, request, streams),
    attach: (request, streams) => attach(deps, request, streams),
    async portForward(podId, port, connection) {
      const pod = deps.view.pod(podId);
      if (pod.state !== "ready")
        throw unknownError(`failed to execute portforward: sandbox container "${pod.id}" is not running`);
      // A pod of the host's network has no namespace of its own.
      const netns = pod.netnsPath === "" ? "/proc/self/ns/net" : pod.netnsPath;
      try {
        await forwardIntoNetns(netns, port, connection);
      } catch (err) {
        throw wrap(err, `failed to execute portforward in network namespace "${netns}"`);
      }
    },
  };
}
