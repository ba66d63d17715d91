import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { completionScript, nodesOf } from "../shared/completion.ts";
import { buildProgram } from "./program.ts";

const nodes = nodesOf((await buildProgram(["--help"])).command);

/** What bash offers for the last word. */
function complete(...words: string[]): string[] {
  const quoted = words.map((w) => `'${w}'`).join(" ");
  const script = `${completionScript("ctr", "bash", nodes)}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _gantry_ctr; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync("bash", ["-c", script], { encoding: "utf8" }).split("\n").filter(Boolean);
}

test("bash completes nouns, verbs through aliases, flags", () => {
  assert.deepEqual(complete("ctr", "ima"), ["images"]);
  assert.deepEqual(complete("ctr", "-n", "k8s.io", "i", "pu"), ["pull", "push"]);
  assert.ok(complete("ctr", "images", "pull", "--pl").includes("--plain-http"));
  assert.deepEqual(complete("ctr", "completion", "b"), ["bash"]);
});

test("every shell has a script, another one is an error", () => {
  for (const shell of ["bash", "zsh", "fish"])
    assert.match(completionScript("ctr", shell, nodes), /snapshots/);
  assert.throws(() => completionScript("ctr", "tcsh", nodes), /no completion/);
});
