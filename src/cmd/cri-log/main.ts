/** `gantry cri-log PATH?max=BYTES`: writes a Kubernetes log as a logger process of shims that are not ours. */
import { logProcess } from "../../../shims/shared/log-process.ts";

/** @returns exit code */
export function main(args: string[]): Promise<number> {
  return logProcess(args[0] ?? "");
}
