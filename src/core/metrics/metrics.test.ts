import assert from "node:assert/strict";
import { test } from "node:test";
import { MetricRegistry } from "./metrics.ts";

test("counters, gauges and timers by label values", async () => {
  const metrics = new MetricRegistry();
  const pulls = metrics.counter("pulls_total", "pulls", "status");
  pulls.add(1, "success");
  pulls.add(2, "success");
  pulls.add(1, "failure");
  metrics.gauge("open", "open ones").set(7);
  const timer = metrics.timer("work", "time of work", "kind");
  timer.observe(0.02, "a");
  await assert.rejects(timer.time(() => Promise.reject(new Error("no")), "a"));
  const families = await metrics.families(() => assert.fail());
  assert.deepEqual(
    families.map((f) => [f.name, f.type]),
    [
      ["pulls_total", "counter"],
      ["open", "gauge"],
      ["work_seconds", "histogram"],
    ],
  );
  assert.deepEqual(families[0]?.samples, [
    { labels: { status: "success" }, value: 3 },
    { labels: { status: "failure" }, value: 1 },
  ]);
  const bucket = (le: string): number | undefined =>
    families[2]?.samples.find((s) => s.labels["le"] === le)?.value;
  assert.equal(bucket("0.01"), 1);
  assert.equal(bucket("0.025"), 2);
  assert.equal(bucket("+Inf"), 2);
  assert.equal(families[2]?.samples.find((s) => s.suffix === "_count")?.value, 2);
});

test("a name made twice is one metric; a failed collector leaves only its own out", async () => {
  const metrics = new MetricRegistry();
  metrics.counter("a", "help").add(1);
  metrics.counter("a", "help").add(1);
  metrics.collect(() => [{ name: "b", type: "gauge", help: "", samples: [{ labels: {}, value: 1 }] }]);
  metrics.collect(() => Promise.reject(new Error("shim is frozen")));
  const errors: unknown[] = [];
  const families = await metrics.families((err) => errors.push(err));
  assert.deepEqual(
    families.map((f) => [f.name, f.samples[0]?.value]),
    [
      ["a", 2],
      ["b", 1],
    ],
  );
  assert.equal(errors.length, 1);
});
