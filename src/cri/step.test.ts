import assert from "node:assert/strict";
import { test } from "node:test";
import { background } from "../core/call.ts";
import { canceled, codeOf, messageOf, notFound } from "../core/errors.ts";
import { limit, step } from "./step.ts";

const never = (): Promise<never> => new Promise(() => {});

test("a step that does not listen is given up at its deadline, and named", async () => {
  const progress = { step: "" };
  await assert.rejects(step(background, progress, "cni add", 5, never), (err) => {
    assert.equal(codeOf(err), "deadline-exceeded");
    assert.equal(messageOf(err), "cni add: still busy after 5 ms");
    return true;
  });
  assert.equal(progress.step, "cni add");
});

test("a step's own error keeps its class; the end of the call ends the step", async () => {
  await assert.rejects(
    step(background, { step: "" }, "look", 1_000, async () => {
      throw notFound("image");
    }),
    (err) => codeOf(err) === "not-found" && messageOf(err) === "look: image",
  );
  const stop = new AbortController();
  const running = step(background.until(stop.signal), { step: "" }, "wait", 60_000, never);
  stop.abort(canceled("over"));
  await assert.rejects(running, (err) => codeOf(err) === "canceled");
  await assert.rejects(step(background.until(stop.signal), { step: "" }, "late", 60_000, never), /late/);
});

test("a disposed limit neither fires nor listens", async () => {
  const stop = new AbortController();
  const limited = limit(background.until(stop.signal), 1);
  limited[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 10));
  stop.abort();
  assert.equal(limited.call.signal.aborted, false);
});
