/** The restart monitor `io.containerd.monitor.container.v1.restart`. */
import { invalidArgument } from "../../core/errors.ts";
import { parseDuration } from "../../core/gc/labels.ts";
import { CONTAINER_MONITOR, METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { RestartMonitor } from "./monitor.ts";

export default definePlugin({
  kind: CONTAINER_MONITOR,
  id: "restart",
  requires: { metadata: one(METADATA), tasks: one(RUNTIME, "task") },
  config: {
    defaults: { interval: "10s" },
    parse(table): number {
      const text = table["interval"];
      const ns = typeof text === "string" ? parseDuration(text) : undefined;
      if (ns === undefined || ns < 1_000_000n)
        throw invalidArgument(`interval "${String(text)}": want a duration such as "10s"`);
      return Number(ns / 1_000_000n);
    },
  },
  onFailure: "optional",
  init(host, { metadata, tasks }, intervalMs) {
    const monitor = new RestartMonitor({ metadata, tasks, log: host.log, intervalMs });
    const stop = new AbortController();
    const call = host.call.until(stop.signal);
    let timer: NodeJS.Timeout | undefined;
    let passing: Promise<void> = Promise.resolve();
    const next = (): void => {
      passing = monitor
        .pass(call)
        .catch((err: unknown) => {
          if (!stop.signal.aborted) host.log.error("look for containers to restart", { err });
        })
        .finally(() => {
          if (!stop.signal.aborted) timer = setTimeout(next, intervalMs);
        });
    };
    // when tasks of an earlier daemon are known again
    host.onServe(async () => next());
    host.onStop(async () => {
      stop.abort();
      clearTimeout(timer);
      await passing;
      await monitor.drain();
    });
    host.describe({ exports: { interval: `${intervalMs}ms` } });
    return {};
  },
});
