import assert from "node:assert/strict";
import { test } from "node:test";
import { COUNT_LABEL, POLICY_LABEL, parsePolicy, STOPPED_LABEL, wantsStart } from "./policy.ts";

const labels = (policy: string, more: Record<string, string> = {}): Map<string, string> =>
  new Map(Object.entries({ [POLICY_LABEL]: policy, ...more }));

test("policies as containerd reads them", () => {
  assert.deepEqual(parsePolicy(""), { name: "always", maximum: 0 });
  assert.deepEqual(parsePolicy("on-failure:3"), { name: "on-failure", maximum: 3 });
  for (const bad of ["On-failure", "on-failure:", "on-failure:-1", "on-failure:x", "always:1", "never"])
    assert.throws(() => parsePolicy(bad), /unknown/, bad);
});

test("who is started again", () => {
  for (const [policy, more, status, want] of [
    ["no", {}, 1, false],
    ["always", {}, 0, true],
    ["", {}, undefined, true],
    ["always", { [STOPPED_LABEL]: "true" }, 0, true],
    ["unless-stopped", {}, 0, true],
    ["unless-stopped", { [STOPPED_LABEL]: "true" }, 137, false],
    ["unless-stopped", { [STOPPED_LABEL]: "false" }, 137, true],
    ["on-failure", {}, 0, false],
    ["on-failure", {}, undefined, false],
    ["on-failure", { [COUNT_LABEL]: "1000" }, 1, true],
    ["on-failure:2", { [COUNT_LABEL]: "1" }, 1, true],
    ["on-failure:2", { [COUNT_LABEL]: "2" }, 1, false],
    ["on-failure:2", { [COUNT_LABEL]: "x" }, 1, true],
  ] as const)
    assert.equal(
      wantsStart(labels(policy, more), status === undefined ? undefined : { status }),
      want,
      `${policy} ${JSON.stringify(more)} ${status}`,
    );
});
