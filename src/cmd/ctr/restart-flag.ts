/** --restart: labels for the daemon's restart monitor. A flag of ours: with containerd's ctr one writes the labels. */
import { invalidArgument } from "../../core/errors.ts";
import { LOG_URI_LABEL, POLICY_LABEL, parsePolicy, STATUS_LABEL } from "../../plugins/restart/policy.ts";
import { textOf } from "./context.ts";

/** `KEY=VALUE` labels that the flag stands for. @throws invalid-argument */
export function restartLabels(options: Readonly<Record<string, unknown>>): string[] {
  const policy = textOf(options, "restart");
  if (policy === "") return [];
  const { name } = parsePolicy(policy);
  if (options["detach"] !== true)
    throw invalidArgument("flag --restart: needs --detach", {
      hint: "the daemon starts the container again, not this client",
    });
  const log = textOf(options, "logUri");
  return [
    `${POLICY_LABEL}=${policy}`,
    ...(name === "no" ? [] : [`${STATUS_LABEL}=running`]),
    ...(log === "" ? [] : [`${LOG_URI_LABEL}=${log}`]),
  ];
}
