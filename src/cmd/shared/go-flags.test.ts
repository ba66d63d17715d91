import assert from "node:assert/strict";
import { test } from "node:test";
import type { CommandSpec, FlagSpec } from "./command.ts";
import { goFlags } from "./go-flags.ts";

const globals: FlagSpec[] = [
  { flag: "-n, --namespace <name>", about: "" },
  { flag: "--debug", about: "" },
];
const specs: CommandSpec<unknown>[] = [
  {
    name: "images",
    aliases: ["i"],
    about: "",
    commands: [
      { name: "list", aliases: ["ls"], about: "", flags: [{ flag: "-q, --quiet", about: "" }] },
      {
        name: "pull",
        args: "<ref>",
        about: "",
        flags: [
          { flag: "--all-platforms", about: "" },
          { flag: "--platform <p>", about: "" },
        ],
      },
    ],
  },
  {
    name: "run",
    about: "",
    passThrough: true,
    flags: [
      { flag: "--rm", about: "" },
      { flag: "-t, --tty", about: "" },
    ],
  },
];

function rewritten(line: string): string {
  return goFlags(line.split(" "), globals, specs).join(" ");
}

test("one dash before a long name, and values of switches", () => {
  assert.equal(rewritten("-namespace k8s.io i ls -quiet"), "--namespace k8s.io i ls --quiet");
  assert.equal(
    rewritten("-namespace=k8s.io -debug i ls --quiet=true"),
    "--namespace=k8s.io --debug i ls --quiet",
  );
  assert.equal(rewritten("i ls --quiet=false"), "i ls");
  assert.equal(
    rewritten("images pull -all-platforms=0 -platform linux/arm64 host/x:1"),
    "images pull --platform linux/arm64 host/x:1",
  );
  assert.equal(rewritten("images pull host/x:1 -all-platforms"), "images pull host/x:1 --all-platforms");
});

test("what is not a flag of the command stays as it is", () => {
  for (const line of [
    "-n -quiet i ls",
    "i ls --quiet=maybe",
    "i ls -zq --nosuch=true",
    "run -t image id ls -rm --rm=false",
    "run -- image -rm",
  ])
    assert.equal(rewritten(line), line);
  assert.equal(rewritten("run -rm image id ls -rm"), "run --rm image id ls -rm");
  assert.equal(rewritten("i ls -q=false"), "i ls");
  assert.equal(rewritten("i h ls"), "i help ls");
  assert.equal(rewritten("run h id"), "run h id");
});
