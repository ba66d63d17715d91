import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";
import { quickParse } from "../shared/quick-parse.ts";
import type { CommandSpec } from "./command.ts";
import { declarations } from "./declarations.ts";
import { buildProgram } from "./program.ts";
import { ctr } from "./tool.ts";

/** What the argument library makes of a command line. */
async function slow(args: string[]): Promise<unknown> {
  const { command } = await buildProgram(args);
  let found: unknown;
  const visit = (at: typeof command): void => {
    at.action(() => {
      found = { args: at.args, options: at.optsWithGlobals(), globals: command.opts() };
    });
    for (const child of at.commands) visit(child);
  };
  for (const child of command.commands) visit(child);
  command.configureOutput({ writeErr() {}, writeOut() {} });
  await command.parseAsync(args, { from: "user" });
  return found;
}

async function quick(args: string[]): Promise<unknown> {
  const parsed = quickParse(args, ctr.globals, await declarations(args), process.env);
  if (parsed === undefined) return undefined;
  const { args: positionals, options, globals } = parsed;
  return { args: positionals, options: { ...options, ...globals }, globals };
}

const PLAIN = [
  "version",
  "-a /x.sock -n k8s.io --debug version",
  "--address=/x.sock images ls -q",
  "images ls name==a name==b",
  "run --rm --env A=1 --env B=2 img id true -x --rm",
  "run -d --net-host --label a=b img id",
  "tasks exec --exec-id e1 id ls -l",
  "t ls",
  "c rm a b c",
  "snapshots --help-me",
  "images pull --plain-http host/img",
  "content fetch-blob x",
];

for (const line of PLAIN) {
  test(`as the library: ctr ${line}`, async () => {
    const args = line.split(" ");
    const found = await quick(args);
    if (found !== undefined) deepEqual(found, await slow(args));
  });
}

test("common commands are understood, others are left to the library", async () => {
  for (const line of ["version", "run --rm img id true", "tasks exec --exec-id e id ls", "images ls"])
    equal((await quick(line.split(" "))) !== undefined, true, line);
  for (const line of ["--help", "run --help", "run", "images", "images nope", "run --no-such img id", "-v"])
    equal(await quick(line.split(" ")), undefined, line);
});

test("forms of flags", () => {
  const spec: CommandSpec = {
    name: "x",
    about: "",
    args: "<a> [b]",
    flags: [
      { flag: "-q, --quiet", about: "" },
      { flag: "--dir-name <dir>", about: "", env: "DIR_NAME" },
      { flag: "--many <x>", about: "", many: true },
    ],
    action: async () => async () => 0,
  };
  const parse = (line: string, env = {}) => quickParse(line.split(" "), [], [spec], env)?.options;
  deepEqual(parse("x 1 -q --dir-name -5"), { quiet: true, dirName: "-5" });
  deepEqual(parse("x 1 --dir-name="), { dirName: "" });
  deepEqual(parse("x 1", { DIR_NAME: "e" }), { dirName: "e" });
  deepEqual(parse("x 1 --many a --many b"), { many: ["a", "b"] });
  deepEqual(parse("x 1 -qq"), { quiet: true });
  for (const line of ["x", "x 1 2 3", "x 1 -qz", "x 1 --quiet=1", "x 1 --dir-name", "x 1 -- -q"])
    equal(parse(line), undefined, line);
});
