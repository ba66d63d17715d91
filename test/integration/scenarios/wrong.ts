/** Wrong input: one clear line, exit code 1, nothing left. */
import assert from "node:assert/strict";
import type { Scenario } from "../suite.ts";

/** Arguments and what the line must name. */
const WRONG: readonly (readonly [readonly string[], RegExp, number?])[] = [
  [["images", "pull", "not a reference"], /not a reference|reference/],
  [["images", "pull", "--plain-http", "127.0.0.1:1/test/none:latest"], /127\.0\.0\.1:1|refused/],
  [["images", "import", "/no/such/file.tar"], /no such file/],
  [["images", "tag", "gantry.test/none:latest", "gantry.test/other:latest"], /not found/],
  [["images", "export", "/dev/null", "gantry.test/none:latest"], /not found/],
  [["run", "--rm", "gantry.test/none:latest", "x-wrong"], /not found/],
  [["run", "--rm"], /image|arguments|must be/],
  [["containers", "info", "none"], /not found/],
  [["containers", "rm", "none"], /not found/],
  [["tasks", "start", "none"], /not found/],
  [["tasks", "exec", "--exec-id", "e", "none", "true"], /not found|no running task/],
  [["tasks", "kill", "none"], /not found/],
  [["content", "get", `sha256:${"0".repeat(64)}`], /not found/],
  [["content", "get", "sha256:../../x"], /invalid|digest/],
  [["snapshots", "rm", "none"], /not exist|not found/],
  [["snapshots", "prepare", "key", "no-parent"], /not found|no-parent/],
  [["namespaces", "create", "UPPER/../x"], /invalid|must match|UPPER/],
];

/** For our client only: containerd's prints usage pages here. Commands there are not have its exit code, 3. */
const OURS: readonly (readonly [readonly string[], RegExp, number?])[] = [
  [["imagess", "ls"], /imagess/, 3],
  [["images", "lss"], /lss/, 3],
  [["images", "ls", "--no-such-flag"], /no-such-flag/],
  [["run", "--rm", "-t", "IMAGE", "x-wrong"], /stdin is not a terminal/],
  [["run", "--rm", "--memory-limit", "many", "IMAGE", "y"], /many/],
];

/** What is wrong gets one line and code 1. */
export const wrongScenarios: readonly Scenario[] = [
  {
    name: "wrong input: exit code 1 and one line that names it",
    async run({ ctr, client, image }) {
      const failed: string[] = [];
      for (const [args, pattern, code = 1] of client === "ours" ? [...WRONG, ...OURS] : WRONG) {
        const said = await ctr.run(...args.map((arg) => (arg === "IMAGE" ? image : arg)));
        const lines = said.err.split("\n").filter((line) => line !== "");
        // a next step may follow on a second line; containerd's client logs a line of its own for some
        const tooLong = client === "ours" && (lines.length > 2 || lines.some((line) => line.length > 400));
        if (said.code !== code || !pattern.test(said.err) || tooLong || /\n\s+at /.test(said.err))
          failed.push(`ctr ${args.join(" ")}: code ${said.code}\n${said.out}${said.err}`);
      }
      assert.equal(failed.join("\n"), "");
    },
  },
];
