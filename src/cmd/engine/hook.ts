/** The mode `network-hook`: the OCI hooks of containers with a network. */
import { networkHook } from "./network.ts";

/** Runs the mode. @returns the exit code */
export function main(args: string[]): Promise<number> {
  return networkHook(args);
}
