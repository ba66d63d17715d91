/** --health-*: labels for the daemon's health monitor. Flags of ours. */
import { invalidArgument } from "../../core/errors.ts";
import { HEALTH_PREFIX, parseHealth } from "../../plugins/health/settings.ts";
import { textOf } from "./context.ts";

const NAMES = ["cmd", "interval", "timeout", "retries", "start-period", "on-failure"];

/** `KEY=VALUE` labels that the flags stand for. @throws invalid-argument */
export function healthLabels(options: Readonly<Record<string, unknown>>): string[] {
  const given = new Map<string, string>();
  for (const name of NAMES) {
    const key = `health${name.replace(/(^|-)(\w)/g, (_all, _dash, letter: string) => letter.toUpperCase())}`;
    const value = textOf(options, key);
    if (value !== "") given.set(HEALTH_PREFIX + name, value);
  }
  if (given.size === 0) return [];
  if (parseHealth(given) === undefined)
    throw invalidArgument("health of a container: no command", { hint: "add --health-cmd COMMAND" });
  return [...given].map(([key, value]) => `${key}=${value}`);
}
