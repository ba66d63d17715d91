import assert from "node:assert/strict";
import { test } from "node:test";
import { firstWord } from "./declarations.ts";
import { buildProgram } from "./program.ts";

test("the first word is what follows the global flags and their values", () => {
  assert.equal(firstWord(["-n", "k8s.io", "--debug", "images", "ls"]), "images");
  assert.equal(firstWord(["--address=/x", "-a", "/y", "c", "ls"]), "c");
  assert.equal(firstWord(["--help"]), undefined);
});

test("every word of a declaration loads it alone, and all commands exist in the whole program", async () => {
  const whole = (await buildProgram(["--help"])).command;
  for (const command of whole.commands) {
    for (const word of [command.name(), ...command.aliases()]) {
      const { command: part } = await buildProgram([word]);
      assert.ok(
        part.commands.some((c) => c.name() === command.name()),
        `ctr ${word} is not found when only its declaration is loaded`,
      );
    }
  }
});
