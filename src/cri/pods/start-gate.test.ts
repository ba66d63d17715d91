import assert from "node:assert/strict";
import { test } from "node:test";
import { StartGate } from "./start-gate.ts";

test("places are given in order of arrival, to containers before pods", async () => {
  const gate = new StartGate(1, 60_000);
  const order: string[] = [];
  const first = await gate.enter("pod");
  const through = async (name: string, what: "pod" | "container"): Promise<void> => {
    using _place = await gate.enter(what);
    order.push(name);
  };
  const all = [through("pod 1", "pod"), through("pod 2", "pod"), through("container", "container")];
  assert.deepEqual(order, []);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await Promise.all(all);
  assert.deepEqual(order, ["container", "pod 1", "pod 2"]);
  // given back once, however often it is disposed of: one place, so the second waits
  using _again = await gate.enter("pod");
  let entered = false;
  const second = gate.enter("pod").then((place) => {
    entered = true;
    return place;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(entered, false);
  _again[Symbol.dispose]();
  (await second)[Symbol.dispose]();
});

test("who keeps a place too long loses it", async () => {
  const gate = new StartGate(1, 10);
  const stuck = await gate.enter("pod");
  using _next = await gate.enter("pod");
  // what is given back late frees nothing
  stuck[Symbol.dispose]();
  let entered = false;
  const third = gate.enter("pod").then(() => {
    entered = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(entered, false);
  _next[Symbol.dispose]();
  await third;
});
