import { invalidArgument } from "../../core/errors.ts";
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
    const scheduler = new GcScheduler(metadata.garbage, schedule, host.call);
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
