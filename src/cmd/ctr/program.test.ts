import assert from "node:assert/strict";
import { test } from "node:test";
import { leavesOf } from "../shared/command.ts";
import { declarations, firstWord } from "./declarations.ts";
import { examples } from "./examples.ts";
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

test("every command has an example, and no example is of a command that is not there", async () => {
  const leaves = leavesOf("ctr", await declarations(["--help"]));
  const without = leaves.filter((leaf) => (leaf.examples ?? examples[leaf.path]) === undefined);
  assert.deepEqual(without, []);
  const paths = ["ctr", ...leaves.filter((leaf) => leaf.examples === undefined).map((leaf) => leaf.path)];
  assert.deepEqual(
    Object.keys(examples).filter((path) => !paths.includes(path)),
    [],
  );
});

test("a group lists all names of its commands, and its help is an answer on stdout", async () => {
  const { command } = await buildProgram(["--help"]);
  const help = command.helpInformation();
  assert.match(help, /^ {2}namespaces, namespace, ns {2}/m);
  assert.match(help, /^ {2}run <image-or-rootfs> \[id\] \[command\.\.\.\] {2}/m);
  const said = { out: "", err: "" };
  const group = (await buildProgram(["images"])).command;
  const images = group.commands[0];
  images?.configureOutput({
    writeOut: (text) => {
      said.out += text;
    },
    writeErr: (text) => {
      said.err += text;
    },
  });
  await assert.rejects(group.parseAsync(["images"], { from: "user" }));
  assert.match(said.out, /delete, del, remove, rm <refs\.\.\.>/);
  assert.equal(said.err, "");
});
