/** What the standard environment (OpenTelemetry's specification, "Environment Variable Specification") asks for. */
import { readFileSync } from "node:fs";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { type Environment, envValue, type FileSettings, ofTraces } from "./why.ts";

/** Where and how spans are sent. */
export interface ExportSettings {
  readonly protocol: "http/protobuf" | "http/json" | "grpc";
  readonly endpoint: URL;
  readonly headers: ReadonlyMap<string, string>;
  /** Milliseconds one request may take. */
  readonly timeoutMs: number;
  readonly gzip: boolean;
  /** PEM texts. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly batch: BatchSettings;
}

/** Bounds of the queue of ended spans. */
export interface BatchSettings {
  /** Spans kept at most; more are dropped and counted. */
  readonly queue: number;
  /** Spans of one request. */
  readonly size: number;
  /** Longest time a span waits for others, ms. */
  readonly delayMs: number;
}

/** Reads everything about the export. @throws invalid-argument naming the variable */
export function exportSettings(env: Environment, file: FileSettings): ExportSettings {
  const exporter = envValue(env, "OTEL_TRACES_EXPORTER") ?? "otlp";
  if (exporter !== "otlp") throw invalidArgument(`OTEL_TRACES_EXPORTER "${exporter}": only otlp and none`);
  const protocol = ofTraces(env, "PROTOCOL") ?? (file.protocol || "http/protobuf");
  if (protocol !== "http/protobuf" && protocol !== "http/json" && protocol !== "grpc")
    throw invalidArgument(`OTEL_EXPORTER_OTLP_PROTOCOL "${protocol}": not http/protobuf, http/json or grpc`);
  const compression = ofTraces(env, "COMPRESSION") ?? "none";
  if (compression !== "none" && compression !== "gzip")
    throw invalidArgument(`OTEL_EXPORTER_OTLP_COMPRESSION "${compression}": not gzip or none`);
  const queue = whole(env, "OTEL_BSP_MAX_QUEUE_SIZE", 2048);
  return {
    protocol,
    endpoint: endpointOf(env, file, protocol === "grpc"),
    headers: parsePairs(ofTraces(env, "HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS"),
    timeoutMs: whole(
      env,
      envValue(env, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") === undefined
        ? "OTEL_EXPORTER_OTLP_TIMEOUT"
        : "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
      10_000,
    ),
    gzip: compression === "gzip",
    tls: {
      ...pem("ca", ofTraces(env, "CERTIFICATE")),
      ...pem("cert", ofTraces(env, "CLIENT_CERTIFICATE")),
      ...pem("key", ofTraces(env, "CLIENT_KEY")),
    },
    batch: {
      queue,
      size: Math.min(queue, whole(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)),
      delayMs: whole(env, "OTEL_BSP_SCHEDULE_DELAY", 5_000),
    },
  };
}

/** The endpoint of traces is taken as it is; the one of all signals, and of the file, is the folder of `v1/traces`. */
function endpointOf(env: Environment, file: FileSettings, grpc: boolean): URL {
  const exact = envValue(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  const base = envValue(env, "OTEL_EXPORTER_OTLP_ENDPOINT");
  const given = exact ?? base ?? file.endpoint;
  const insecure =
    base === undefined && exact === undefined ? file.insecure : ofTraces(env, "INSECURE") === "true";
  const text = given.includes("://") ? given : `${insecure ? "http" : "https"}://${given}`;
  if (!URL.canParse(text) || !/^https?:/.test(text))
    throw invalidArgument(`OpenTelemetry endpoint "${given}": want http://HOST:PORT or https://HOST:PORT`);
  const url = new URL(text);
  if (exact === undefined && !grpc) url.pathname = `${url.pathname.replace(/\/$/, "")}/v1/traces`;
  return url;
}

/** `name=value,name=value`, percent-encoded. @throws invalid-argument naming the variable */
export function parsePairs(text: string | undefined, variable: string): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  for (const pair of (text ?? "").split(",")) {
    if (pair.trim() === "") continue;
    const at = pair.indexOf("=");
    try {
      if (at < 1) throw new Error("want name=value");
      out.set(decodeURIComponent(pair.slice(0, at).trim()), decodeURIComponent(pair.slice(at + 1).trim()));
    } catch (err) {
      // the value may be a secret
      throw invalidArgument(`${variable}: entry ${out.size + 1}: ${messageOf(err)}`);
    }
  }
  return out;
}

function pem(name: "ca" | "cert" | "key", path: string | undefined): ExportSettings["tls"] {
  if (path === undefined) return {};
  try {
    return { [name]: readFileSync(path, "utf8") };
  } catch (err) {
    throw invalidArgument(`read "${path}" for OpenTelemetry's ${name}: ${messageOf(err)}`);
  }
}

function whole(env: Environment, name: string, fallback: number): number {
  const text = envValue(env, name);
  if (text === undefined) return fallback;
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw invalidArgument(`${name} "${text}": want a whole number above 0`);
  return number;
}

/** Which traces that begin here are recorded, and whether the caller's choice wins. */
export interface SamplerSettings {
  readonly parentBased: boolean;
  /** Share of traces, 0 to 1. */
  readonly ratio: number;
}

/** Reads the sampler. @param ratio of the configuration file; undefined when not set @throws invalid-argument */
export function samplerSettings(env: Environment, ratio: number | undefined): SamplerSettings {
  const name = envValue(env, "OTEL_TRACES_SAMPLER");
  if (name === undefined) return { parentBased: true, ratio: ratio ?? 1 };
  const parentBased = name.startsWith("parentbased_");
  switch (name.replace(/^parentbased_/, "")) {
    case "always_on":
      return { parentBased, ratio: 1 };
    case "always_off":
      return { parentBased, ratio: 0 };
    case "traceidratio": {
      const share = Number(envValue(env, "OTEL_TRACES_SAMPLER_ARG") ?? "1");
      if (!(share >= 0 && share <= 1))
        throw invalidArgument(`OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1`);
      return { parentBased, ratio: share };
    }
    default:
      throw invalidArgument(
        `OTEL_TRACES_SAMPLER "${name}": not always_on, always_off, traceidratio, or parentbased_ and one of these`,
      );
  }
}
