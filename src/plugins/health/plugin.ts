/** The health monitor: containers with a label `gantry.health/cmd` are checked by running that command in them. */
import { fromBinary } from "@bufbuild/protobuf";
import { TaskExitSchema, TaskStartSchema } from "../../api/gen/containerd/events/task_pb.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { CONTAINER_MONITOR, EVENTS, METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig, one } from "../../core/plugin/plugin.ts";
import { HealthMonitor } from "./monitor.ts";

export default definePlugin({
  kind: CONTAINER_MONITOR,
  id: "health",
  requires: { metadata: one(METADATA), tasks: one(RUNTIME, "task"), events: one(EVENTS) },
  config: noConfig,
  onFailure: "optional",
  init(host, { metadata, tasks, events }) {
    const monitor = new HealthMonitor({ metadata, tasks, log: host.log });
    const stop = new AbortController();
    const call = host.call.until(stop.signal);
    const follow = async (): Promise<void> => {
      const filters = ['topic=="/tasks/start"', 'topic=="/tasks/exit"'];
      for await (const { topic, namespace, event } of events.subscribe(call, filters)) {
        if (topic === "/tasks/start") {
          const { containerId } = fromBinary(TaskStartSchema, event.value);
          void monitor
            .started(host.call.in(parseNamespace(namespace)), containerId)
            .catch((err: unknown) =>
              host.log.warn("look for a health command", { container: containerId, err }),
            );
        } else {
          const { containerId, id } = fromBinary(TaskExitSchema, event.value);
          if (id === containerId) monitor.ended(namespace, containerId);
        }
      }
    };
    // when tasks of an earlier daemon are known again
    host.onServe(async () => {
      void follow().catch((err: unknown) => {
        if (!stop.signal.aborted) host.log.error("follow tasks for their health", { err });
      });
      await monitor.load(host.call);
    });
    host.onStop(async () => {
      stop.abort();
      await monitor.stop();
    });
    return {};
  },
});
