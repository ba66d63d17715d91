/**
 * `io.containerd.tracing.processor.v1.otlp`: sends spans to an OpenTelemetry collector when the standard environment names
 * one. Nothing of it is loaded otherwise.
 */
import { invalidArgument } from "../../core/errors.ts";
import { SPAN_PROCESSOR } from "../../core/plugin/own-kinds.ts";
import { definePlugin, SkipPlugin } from "../../core/plugin/plugin.ts";
import { type FileSettings, whyNoTraces } from "./why.ts";

/** Time the last spans get when the daemon stops. Milliseconds. */
const FLUSH_MS = 2_000;

export default definePlugin({
  kind: SPAN_PROCESSOR,
  id: "otlp",
  requires: {},
  // no defaults: containerd's table is empty, and these keys of older versions are only read
  config: {
    defaults: {},
    parse(table): FileSettings {
      const { endpoint = "", protocol = "", insecure = false } = table;
      if (typeof endpoint !== "string" || typeof protocol !== "string" || typeof insecure !== "boolean")
        throw invalidArgument("endpoint and protocol must be text, insecure true or false");
      return { endpoint, protocol, insecure };
    },
  },
  onFailure: "optional",
  async init(host, _deps, file) {
    const why = whyNoTraces(process.env, file.endpoint);
    if (why !== undefined) throw new SkipPlugin(why);
    if (file.endpoint !== "")
      host.log.warn("endpoint, protocol and insecure of the configuration file are deprecated", {
        hint: "set OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL for the daemon",
      });
    const { exportSettings } = await import("./settings.ts");
    const { createExporter } = await import("./exporters.ts");
    const { SpanBatcher } = await import("./batch.ts");
    const settings = exportSettings(process.env, file);
    const exporter = await createExporter(settings, { name: "gantry", version: host.daemon.version });
    const batcher = new SpanBatcher(
      exporter,
      { ...settings.batch, timeoutMs: settings.timeoutMs },
      host.log,
      host.metrics,
    );
    host.onStop(() => batcher.close(FLUSH_MS));
    host.describe({ exports: { endpoint: settings.endpoint.origin, protocol: settings.protocol } });
    host.log.info("traces are exported", { endpoint: settings.endpoint.origin, protocol: settings.protocol });
    return batcher;
  },
});
