/** The few questions every start asks; the rest is loaded when traces are wanted. */

/** Variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The value; an empty one counts as not set, as the specification says. */
export function envValue(env: Environment, name: string): string | undefined {
  const text = env[name]?.trim();
  return text === "" ? undefined : text;
}

/** The variable of traces, else the one of all signals. */
export function ofTraces(env: Environment, name: string): string | undefined {
  return envValue(env, `OTEL_EXPORTER_OTLP_TRACES_${name}`) ?? envValue(env, `OTEL_EXPORTER_OTLP_${name}`);
}

/** Keys of the configuration file that the environment has replaced. */
export interface FileSettings {
  readonly endpoint: string;
  readonly protocol: string;
  readonly insecure: boolean;
}

/**
 * Why nothing is exported with this environment; undefined when something is.
 * @param endpoint the one of the configuration file, which the environment overrides
 */
export function whyNoTraces(env: Environment, endpoint: string): string | undefined {
  if (envValue(env, "OTEL_SDK_DISABLED")?.toLowerCase() === "true") return "OTEL_SDK_DISABLED is set";
  if (envValue(env, "OTEL_TRACES_EXPORTER") === "none") return "OTEL_TRACES_EXPORTER is none";
  if (ofTraces(env, "ENDPOINT") === undefined && endpoint === "") return "no OpenTelemetry endpoint";
  return undefined;
}
