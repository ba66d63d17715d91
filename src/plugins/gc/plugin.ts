import { invalidArgument } from "../../core/errors.ts";
import type { Collectable } from "../../core/gc/gc.ts";
import { parseDuration } from "../../core/gc/labels.ts";
import { GC, METADATA } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { GcScheduler, type Schedule } from "./scheduler.ts";

/** Schedules garbage collection of the metadata database. */
export default definePlugin({
  kind: GC,
  id: "scheduler",
  requires: { metadata: one(METADATA) },
  config: {
    defaults: {
      pause_threshold: 0.02,
      deletion_threshold: 0,
      mutation_threshold: 100,
      schedule_delay: "0s",
      startup_delay: "100ms",
    },
    live: ["pause_threshold", "deletion_threshold", "mutation_threshold", "schedule_delay", "startup_delay"],
    parse(table): Schedule {
      return {
        pauseThreshold: Math.min(Math.max(number(table, "pause_threshold"), 0), 0.5),
        deletionThreshold: number(table, "deletion_threshold"),
        mutationThreshold: Math.max(number(table, "mutation_threshold"), 0),
        scheduleDelay: duration(table, "schedule_delay"),
        startupDelay: duration(table, "startup_delay"),
      };
    },
  },
  onFailure: "optional",
  init(host, { metadata }, schedule) {
    const runs = host.metrics.counter(
      "containerd_gc_collections_total",
      "counter of gc scheduler collections",
      "status",
    );
    const time = host.metrics.timer("containerd_gc_gc", "duration of gc scheduler collections");
    const { garbage } = metadata;
    const measured: Collectable = {
      run: (call) =>
        time.time(() =>
          garbage.run(call).then(
            (stats) => {
              runs.add(1, "success");
              return stats;
            },
            (err: unknown) => {
              runs.add(1, "fail");
              throw err;
            },
          ),
        ),
      onMutation: (listener) => garbage.onMutation(listener),
      attach: (collector) => garbage.attach(collector),
    };
    const scheduler = new GcScheduler(measured, schedule, host.call);
    host.onReload((next) => scheduler.reschedule(next));
    host.describe({
      exports: {
        PauseThreshold: String(schedule.pauseThreshold),
        DeletionThreshold: String(schedule.deletionThreshold),
        MutationThreshold: String(schedule.mutationThreshold),
        ScheduleDelay: `${schedule.scheduleDelay}ms`,
      },
    });
    host.onReady(async () => scheduler.start());
    host.onStop(() => scheduler.stop());
    return scheduler;
  },
});

function number(table: Readonly<Record<string, unknown>>, key: string): number {
  const value = table[key];
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "number" || !Number.isFinite(value))
    throw invalidArgument(`${key} "${String(value)}": want a number`);
  return value;
}

/** Milliseconds of a duration; a bare number is nanoseconds, as in Go. Never negative. */
function duration(table: Readonly<Record<string, unknown>>, key: string): number {
  const value = table[key];
  const ns =
    typeof value === "number" || typeof value === "bigint"
      ? BigInt(value)
      : typeof value === "string"
        ? parseDuration(value)
        : undefined;
  if (ns === undefined) throw invalidArgument(`${key} "${String(value)}": want a duration such as "100ms"`);
  return Math.max(0, Number(ns) / 1e6);
}
