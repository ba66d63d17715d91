/** The restart monitor `io.containerd.monitor.container.v1.restart`. */
import { fromBinary } from "@bufbuild/protobuf";
import { TaskExitSchema } from "../../api/gen/containerd/events/task_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import { parseDuration } from "../../core/gc/labels.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { CONTAINER_MONITOR, EVENTS, METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { sleep } from "../../lib/retry.ts";
import { RestartMonitor } from "./monitor.ts";

export default definePlugin({
  kind: CONTAINER_MONITOR,
  id: "restart",
  requires: { metadata: one(METADATA), tasks: one(RUNTIME, "task"), events: one(EVENTS) },
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
  init(host, { metadata, tasks, events }, intervalMs) {
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
    const follow = async (): Promise<void> => {
      for await (const { namespace, event } of events.subscribe(call, ['topic=="/tasks/exit"'])) {
        const { containerId, id, exitStatus } = fromBinary(TaskExitSchema, event.value);
        if (id === containerId)
          monitor.ended(call.in(parseNamespace(namespace)), containerId, { status: exitStatus });
      }
    };
    const followAlways = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        await follow().catch(async (err: unknown) => {
          if (stop.signal.aborted) return;
          // cut off for being slow: the passes find what was missed
          host.log.warn("follow exits of containers", { err });
          await sleep(1_000);
        });
      }
    };
    // when tasks of an earlier daemon are known again
    host.onServe(async () => {
      void followAlways();
      next();
    });
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
