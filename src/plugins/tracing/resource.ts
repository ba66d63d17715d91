import { hostname } from "node:os";
import type { Attribute, Resource } from "../../core/tracing/span.ts";
import { parsePairs } from "./settings.ts";
import type { Environment } from "./why.ts";

/** What the spans are about: this daemon on this host, and what `OTEL_RESOURCE_ATTRIBUTES` adds or replaces. */
export function resourceOf(env: Environment, serviceName: string, version: string): Resource {
  const given = env["OTEL_SERVICE_NAME"];
  const out = new Map<string, Attribute>([
    ["service.name", serviceName || "containerd"],
    ["service.version", version],
    ["host.name", hostname()],
    ["process.pid", process.pid],
    ["telemetry.sdk.name", "gantry"],
    ["telemetry.sdk.language", "nodejs"],
    ["telemetry.sdk.version", version],
    ...parsePairs(env["OTEL_RESOURCE_ATTRIBUTES"], "OTEL_RESOURCE_ATTRIBUTES"),
  ]);
  if (given !== undefined && given !== "") out.set("service.name", given);
  return out;
}
