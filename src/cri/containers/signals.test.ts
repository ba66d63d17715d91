import assert from "node:assert/strict";
import { test } from "node:test";
import { Signal } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { criName, criSignal, signalName, signalNumber } from "./signals.ts";

test("every value of CRI's enumeration has its own name and number", () => {
  for (const [name, value] of Object.entries(Signal)) {
    if (typeof value !== "number" || value === 0) continue;
    const words = name.replace("RTMINPLUS", "RTMIN+").replace("RTMAXMINUS", "RTMAX-");
    assert.equal(criName(value), words);
    assert.ok(signalNumber(words) >= 1 && signalNumber(words) <= 64, words);
  }
  assert.equal(criSignal("SIGTERM"), Signal.SIGTERM);
  assert.equal(criSignal("9"), Signal.SIGKILL);
  assert.equal(criSignal("SIGRTMIN+3"), Signal.SIGRTMINPLUS3);
  assert.equal(criSignal("nonsense"), 0);
});

test("names, numbers and real-time signals as images write them", () => {
  assert.equal(signalNumber("sigquit"), 3);
  assert.equal(signalNumber("QUIT"), 3);
  assert.equal(signalNumber("37"), 37);
  assert.equal(signalNumber("RTMAX-1"), 63);
  for (const bad of ["", "0", "65", "SIGNOPE", "RTMIN+31", "1e1", " 9"])
    assert.throws(() => signalNumber(bad), /unknown signal/, bad);
});

test("CRI's signal beats the image's; an image's nonsense is SIGTERM", () => {
  assert.equal(signalName(Signal.SIGUSR1, "SIGINT"), "SIGUSR1");
  assert.equal(signalName(Signal.RUNTIME_DEFAULT, "SIGINT"), "SIGINT");
  assert.equal(signalName(Signal.RUNTIME_DEFAULT, ""), "SIGTERM");
  assert.equal(signalName(Signal.RUNTIME_DEFAULT, "SIGNOPE"), "SIGTERM");
});
