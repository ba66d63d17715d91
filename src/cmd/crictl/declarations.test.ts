import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { leavesOf } from "../shared/command.ts";
import { completionScript, nodesOf } from "../shared/completion.ts";
import { quickParse } from "../shared/quick-parse.ts";
import { declarations, firstWord, quickDeclarations, WORDS } from "./declarations.ts";
import { examples } from "./examples.ts";
import { buildProgram } from "./program.ts";
import { crictl } from "./tool.ts";

/** Commands and flags of crictl that scripts use. */
const KNOWN: Readonly<Record<string, string>> = {
  attach: "--stdin -i --tls-ca --tls-cert --tls-key --tls-sni --tls-server-name --transport -r --tty -t",
  checkpoint: "--export -e",
  completion: "",
  config: "--get --set --list",
  create: "--auth --cancel-timeout -T --creds --no-pull --pull-timeout --pt --username -u --with-pull",
  events: "--output -o --template",
  exec: "--ignore-errors -e --image --interactive -i --label --last -n --latest -l --name --parallel -x --pod -p --quiet -q --state --sync -s --timeout --tls-ca --tls-cert --tls-key --tls-sni --tls-server-name --transport -r --tty -t",
  imagefsinfo: "--output -o --template",
  images: "--digests --filter -f --no-trunc --output -o --pinned --quiet -q --verbose -v",
  info: "--output -o --quiet -q --template",
  inspect:
    "--all -a --image --label --last -n --latest -l --name --namespace --output -o --pod -p --quiet -q --state -s --template",
  inspecti: "--filter -f --name --output -o --quiet -q --template",
  inspectp: "--label --last -n --latest -l --name --namespace --output -o --quiet -q --state -s --template",
  logs: "--follow -f --limit-bytes --previous -p --reopen -r --since --stream -s --tail --timestamps -t",
  metricdescs: "--output -o",
  metricsp: "--output -o --watch -w",
  pods: "--id --label --last -n --latest -l --name --namespace --no-trunc --output -o --quiet -q --state -s --verbose -v",
  "port-forward": "--tls-ca --tls-cert --tls-key --tls-sni --tls-server-name --transport -r",
  ps: "--all -a --id --image --label --last -n --latest -l --name --namespace --no-trunc --output -o --pod -p --quiet -q --resolve-image-path -r --state -s --verbose -v",
  pull: "--annotation -a --auth --creds --pod-config --pull-timeout --pt --username -u",
  rm: "--all -a --force -f --keep-logs -k",
  rmi: "--all -a --prune -q",
  rmp: "--all -a --force -f",
  run: "--auth --cancel-timeout -T --creds --no-pull --pull-timeout --pt --runtime -r --username -u --with-pull",
  runp: "--cancel-timeout -T --runtime -r",
  "runtime-config": "",
  start: "",
  stats: "--all -a --id --label --output -o --pod -p --seconds -s --watch -w",
  statsp: "--id --label --output -o --seconds -s --watch -w",
  stop: "--all -a --timeout -t",
  stopp: "",
  update:
    "--cpu-count --cpu-maximum --cpu-period --cpu-quota --cpu-share --cpuset-cpus --cpuset-mems --memory --oom-score-adj",
  "update-runtime-config": "--pod-cidr -p",
  version: "",
};
const GLOBALS =
  "--config -c --debug -D --enable-tracing --image-endpoint -i --max-retries --profile-cpu --profile-mem --runtime-endpoint -r --timeout -t --tracing-endpoint --tracing-sampling-rate-per-million --version -v";

const whole = buildProgram(await declarations(["--help"])).command;

test("every command and flag that is known exists", () => {
  const flagsOf = (options: readonly { short?: string | undefined; long?: string | undefined }[]): string[] =>
    options.flatMap((o) => [o.short ?? "", o.long ?? ""]);
  for (const flag of GLOBALS.split(" ")) assert.ok(flagsOf(whole.options).includes(flag), flag);
  for (const [name, flags] of Object.entries(KNOWN)) {
    const command = whole.commands.find((c) => c.name() === name);
    assert.ok(command !== undefined, name);
    for (const flag of flags.split(" ").filter(Boolean))
      assert.ok(flagsOf(command.options).includes(flag), `crictl ${name} ${flag}`);
  }
  assert.deepEqual(whole.commands.find((c) => c.name() === "images")?.aliases(), ["image", "img"]);
  for (const name of ["create", "run", "runp", "pull"])
    assert.deepEqual(
      whole.commands.find((c) => c.name() === name)?.commands.map((c) => c.name()),
      ["jsonschema"],
    );
});

test("every word loads its own group", async () => {
  assert.equal(firstWord(["-t", "5s", "--debug", "-r", "unix:///x", "ps", "-a"]), "ps");
  for (const command of whole.commands)
    for (const word of [command.name(), ...command.aliases()]) {
      if (word === "completion") continue;
      assert.ok(WORDS[word] !== undefined, `${word} has no group`);
      const group = await quickDeclarations([word]);
      assert.ok(
        group.some((spec) => spec.name === command.name()),
        `${word} is in another group`,
      );
    }
});

test("common command lines need no argument library", async () => {
  const lines = [
    "ps -aq",
    "exec -it ID sh -c ls",
    "logs -f ID",
    "runp a.yaml",
    "pull busybox",
    "images",
    "rmp -af",
    "inspect ID",
  ];
  for (const line of lines) {
    const args = line.split(" ");
    assert.ok(quickParse(args, crictl.globals, await quickDeclarations(args), {}) !== undefined, line);
  }
  const schema = ["runp", "jsonschema"];
  const parsed = quickParse(schema, crictl.globals, await quickDeclarations(schema), {});
  assert.deepEqual(parsed?.args ?? [], []);
  const exec = ["-t", "3s", "exec", "--timeout", "9", "ID", "ls", "-l"];
  const found = quickParse(exec, crictl.globals, await quickDeclarations(exec), {});
  assert.deepEqual(
    [found?.globals["timeout"], found?.options["timeout"], found?.args],
    ["3s", "9", ["ID", "ls", "-l"]],
  );
});

test("completion", () => {
  const nodes = nodesOf(whole);
  const script = `${completionScript("crictl", "bash", nodes)}
COMP_WORDS=(crictl -r x in); COMP_CWORD=3; _gantry_crictl; printf '%s ' "\${COMPREPLY[@]}"`;
  assert.equal(execFileSync("bash", ["-c", script], { encoding: "utf8" }), "info inspect inspecti inspectp ");
  for (const shell of ["zsh", "fish"]) assert.match(completionScript("crictl", shell, nodes), /port-forward/);
});

test("every command has an example, and no example is of a command that is not there", async () => {
  const leaves = leavesOf("crictl", await declarations(["--help"]));
  const without = leaves.filter((leaf) => (leaf.examples ?? examples[leaf.path]) === undefined);
  assert.deepEqual(without, []);
  const paths = ["crictl", ...leaves.filter((leaf) => leaf.examples === undefined).map((leaf) => leaf.path)];
  assert.deepEqual(
    Object.keys(examples).filter((path) => !paths.includes(path)),
    [],
  );
});
