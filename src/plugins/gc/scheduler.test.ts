import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { background } from "../../core/call.ts";
import type { Collectable, GarbageCollector, GcStats } from "../../core/gc/gc.ts";
import { createDeferred } from "../../lib/deferred.ts";
import plugin from "./plugin.ts";
import { GcScheduler, type Schedule } from "./scheduler.ts";

const STATS: GcStats = { elapsed: 1n, content: 0, snapshots: 0, ingests: 0, images: 0, leases: 0 };
const SCHEDULE: Schedule = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 100,
  scheduleDelay: 0,
  startupDelay: 0,
};

/** A target that counts its runs; each run ends when told, or at once. */
class Target implements Collectable {
  runs = 0;
  change: (kind: "delete" | "change") => void = () => {};
  attached: GarbageCollector | undefined;
  hold: Promise<void> | undefined;
  #waiters: { count: number; done: () => void }[] = [];

  async run(): Promise<GcStats> {
    this.runs++;
    for (const w of this.#waiters) if (this.runs >= w.count) w.done();
    await this.hold;
    return { ...STATS, content: this.runs };
  }
  onMutation(listener: (kind: "delete" | "change") => void): void {
    this.change = listener;
  }
  attach(collector: GarbageCollector): void {
    this.attached = collector;
  }
  async reaches(count: number): Promise<void> {
    if (this.runs >= count) return;
    const { promise, resolve } = createDeferred<void>();
    this.#waiters.push({ count, done: resolve });
    // keeps the loop alive: the scheduler's own timers do not
    const alive = setInterval(() => {}, 1000);
    await promise;
    clearInterval(alive);
  }
}

function make(
  change: Partial<Schedule> = {},
  now?: () => number,
): { target: Target; scheduler: GcScheduler } {
  const target = new Target();
  return { target, scheduler: new GcScheduler(target, { ...SCHEDULE, ...change }, background, now) };
}

describe("gc scheduler", () => {
  test("startup delay plans the first collection", async () => {
    const { target, scheduler } = make({ startupDelay: 1 });
    assert.equal(target.attached, scheduler);
    scheduler.start();
    await target.reaches(1);
    await scheduler.stop();
  });

  test("a deletion collects; changes collect from the threshold on", async () => {
    const { target, scheduler } = make({ mutationThreshold: 3 });
    target.change("change");
    target.change("change");
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(target.runs, 0);
    target.change("change");
    await target.reaches(1);
    const second = make();
    second.target.change("delete");
    await second.target.reaches(1);
    await scheduler.stop();
    await second.scheduler.stop();
  });

  test("after a collection the next waits for its share of time, unless the deletion threshold is met", async () => {
    let now = 0;
    const { target, scheduler } = make({ deletionThreshold: 2 }, () => now);
    await scheduler.collect(background);
    now = 1;
    target.change("delete");
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(target.runs, 1);
    target.change("delete");
    await target.reaches(2);
    await scheduler.stop();
  });

  test("callers during a run share the next one", async () => {
    const { target, scheduler } = make();
    const gate = createDeferred<void>();
    target.hold = gate.promise;
    const first = scheduler.collect(background);
    const later = [scheduler.collect(background), scheduler.collect(background)];
    gate.resolve();
    assert.equal((await first).content, 1);
    assert.deepEqual(
      (await Promise.all(later)).map((s) => s.content),
      [2, 2],
    );
    await scheduler.stop();
  });

  test("another schedule counts from the next change on", async () => {
    const { target, scheduler } = make({ deletionThreshold: 0, mutationThreshold: 0 });
    target.change("change");
    assert.equal(target.runs, 0, "changes alone do not collect");
    scheduler.reschedule({ ...SCHEDULE, mutationThreshold: 1 });
    target.change("change");
    await target.reaches(1);
    await scheduler.stop();
  });

  test("config: defaults, limits, wrong values", () => {
    const parse = (table: Record<string, unknown>): unknown =>
      plugin.config.parse({ ...plugin.config.defaults, ...table });
    assert.deepEqual(parse({}), { ...SCHEDULE, startupDelay: 100 });
    assert.deepEqual(parse({ pause_threshold: 0.9, schedule_delay: "1.5s", startup_delay: 0 }), {
      ...SCHEDULE,
      pauseThreshold: 0.5,
      scheduleDelay: 1500,
      startupDelay: 0,
    });
    assert.throws(() => parse({ schedule_delay: "soon" }), /schedule_delay "soon"/);
    assert.throws(() => parse({ mutation_threshold: "many" }), /mutation_threshold/);
  });
});
