/** When a container that ended is started again: containerd's labels and rules. */
import type { Labels } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";

/** `running` or `stopped`: what the monitor makes true. Its presence puts a container under the monitor. */
export const STATUS_LABEL = "containerd.io/restart.status";
/** Where the output of a restarted task goes: `file://`, `binary://`. */
export const LOG_URI_LABEL = "containerd.io/restart.loguri";
/** `no`, `always`, `on-failure[:N]`, `unless-stopped`. */
export const POLICY_LABEL = "containerd.io/restart.policy";
/** How often `on-failure` has started it. */
export const COUNT_LABEL = "containerd.io/restart.count";
/** `true` when a user stopped it: `unless-stopped` leaves it alone. */
export const STOPPED_LABEL = "containerd.io/restart.explicitly-stopped";

/** A policy. */
export interface RestartPolicy {
  readonly name: "no" | "always" | "on-failure" | "unless-stopped";
  /** Most restarts of `on-failure`; 0 = no limit. */
  readonly maximum: number;
}

/** Reads a policy; "" is always. @throws invalid-argument */
export function parsePolicy(text: string): RestartPolicy {
  const match = /^(no|always|unless-stopped|on-failure(?::(\d{1,9}))?)$/.exec(text === "" ? "always" : text);
  if (match === null)
    throw invalidArgument(`restart policy "${text}": unknown`, {
      hint: "use no, always, on-failure, on-failure:COUNT or unless-stopped",
    });
  const [, whole = "", maximum] = match;
  if (whole.startsWith("on-failure")) return { name: "on-failure", maximum: Number(maximum ?? 0) };
  return { name: whole as "no" | "always" | "unless-stopped", maximum: 0 };
}

/** How the last task ended; undefined when there is none. */
export type LastExit = { readonly status: number } | undefined;

/**
 * Whether a container that does not run is to be started. One that has no task was never started or lost it in a reboot: as
 * with containerd that counts as an exit with 0.
 * @throws invalid-argument (policy label)
 */
export function wantsStart(labels: Labels, exit: LastExit): boolean {
  const policy = parsePolicy(labels.get(POLICY_LABEL) ?? "");
  switch (policy.name) {
    case "no":
      return false;
    case "always":
      return true;
    case "unless-stopped":
      return labels.get(STOPPED_LABEL) !== "true";
    case "on-failure":
      return (exit?.status ?? 0) !== 0 && (policy.maximum === 0 || restartCount(labels) < policy.maximum);
  }
}

/** Restarts so far. A label that is no number counts as none. */
export function restartCount(labels: Labels): number {
  const count = Number(labels.get(COUNT_LABEL) ?? 0);
  return Number.isSafeInteger(count) && count > 0 ? count : 0;
}
