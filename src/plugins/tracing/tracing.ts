/** `io.containerd.internal.v1.tracing`: makes the spans of the daemon for the processors that started. */
import { invalidArgument } from "../../core/errors.ts";
import { SPAN_PROCESSOR, TRACER } from "../../core/plugin/own-kinds.ts";
import { all, definePlugin, SkipPlugin } from "../../core/plugin/plugin.ts";

export default definePlugin({
  kind: TRACER,
  id: "tracing",
  requires: { processors: all(SPAN_PROCESSOR) },
  // no defaults: containerd's table is empty, and these keys of older versions are only read
  config: {
    defaults: {},
    parse(table) {
      const { service_name: serviceName = "", sampling_ratio: ratio } = table;
      if (typeof serviceName !== "string") throw invalidArgument("service_name: must be text");
      if (ratio !== undefined && !(typeof ratio === "number" && ratio >= 0 && ratio <= 1))
        throw invalidArgument("sampling_ratio: must be a number from 0 to 1");
      return { serviceName, ratio };
    },
  },
  onFailure: "optional",
  async init(host, deps, config) {
    if (deps.processors.size === 0) throw new SkipPlugin("no tracing processor");
    if (config.serviceName !== "" || config.ratio !== undefined)
      host.log.warn("service_name and sampling_ratio of the configuration file are deprecated", {
        hint: "set OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER for the daemon",
      });
    const { samplerSettings } = await import("./settings.ts");
    const { createTracer } = await import("./tracer.ts");
    const { resourceOf } = await import("./resource.ts");
    return createTracer(
      samplerSettings(process.env, config.ratio),
      resourceOf(process.env, config.serviceName, host.daemon.version),
      [...deps.processors.values()],
    );
  },
});
