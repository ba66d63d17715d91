import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { codeOf } from "../../core/errors.ts";
import { noLog } from "../../core/log.ts";
import { Cni, type CniAttachment } from "./cni.ts";
import { loadNetworks, parseNetwork } from "./conflist.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "gantry-cni-"));
  mkdirSync(join(dir, "bin"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A plugin that notes each call and its configuration, then does `body`. */
function plugin(name: string, body: string): void {
  const file = join(dir, "bin", name);
  writeFileSync(
    file,
    `#!/bin/sh
conf=$(cat)
echo "${name} $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME [$CNI_ARGS]" >>${dir}/calls
echo "$conf" >>${dir}/confs
${body}
`,
  );
  chmodSync(file, 0o755);
}

const answer = `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24"}]}'`;
const calls = (): string[] => readFileSync(join(dir, "calls"), "utf8").trim().split("\n");
const confs = (): Record<string, unknown>[] =>
  readFileSync(join(dir, "confs"), "utf8")
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l) as Record<string, unknown>);
const list = (plugins: unknown[], more: object = {}): string =>
  JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins, ...more });

function cni(timeoutMs = 5_000): Cni {
  return new Cni({ binDirs: [join(dir, "none"), join(dir, "bin")], cacheDir: join(dir, "cache"), timeoutMs });
}

const attachment: CniAttachment = {
  containerId: "c1",
  netns: "/var/run/netns/x",
  ifName: "eth0",
  args: new Map([
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAME", "p"],
  ]),
  capabilities: { portMappings: [{ hostPort: 80 }], bandwidth: {} },
};

test("ADD goes forward with results and capability values, DEL goes back with what was remembered", async () => {
  plugin("one", answer);
  plugin("two", answer);
  const network = parseNetwork(
    list([
      { type: "one", mtu: 9 },
      { type: "two", capabilities: { portMappings: true, bandwidth: false } },
    ]),
  );
  const result = await cni().add(network, attachment);
  assert.deepEqual(result.addresses, ["10.9.0.2/24"]);
  assert.deepEqual(calls(), [
    "one ADD c1 /var/run/netns/x eth0 [IgnoreUnknown=1;K8S_POD_NAME=p]",
    "two ADD c1 /var/run/netns/x eth0 [IgnoreUnknown=1;K8S_POD_NAME=p]",
  ]);
  const [first, second] = confs();
  assert.deepEqual(first, { type: "one", mtu: 9, name: "net", cniVersion: "1.0.0" });
  assert.deepEqual(second?.["runtimeConfig"], { portMappings: [{ hostPort: 80 }] });
  assert.deepEqual(second?.["prevResult"], result.raw);

  await cni().check(network, attachment);
  // the file has changed meanwhile: DEL undoes what ADD did
  const changed = parseNetwork(list([{ type: "other" }]));
  await cni().remove(changed, { ...attachment, netns: "", args: new Map(), capabilities: {} });
  assert.deepEqual(calls().slice(4), [
    "two DEL c1  eth0 [IgnoreUnknown=1;K8S_POD_NAME=p]",
    "one DEL c1  eth0 [IgnoreUnknown=1;K8S_POD_NAME=p]",
  ]);
  assert.deepEqual(confs()[4]?.["prevResult"], result.raw);
  assert.deepEqual(readdirSync(join(dir, "cache/results")), []);
});

test("a failed ADD is undone and keeps its reason", async () => {
  plugin("good", answer);
  plugin(
    "bad",
    `[ $CNI_COMMAND = DEL ] || { echo '{"code":100,"msg":"no address left","details":"10/8"}'; exit 1; }`,
  );
  const network = parseNetwork(list([{ type: "good" }, { type: "bad" }]));
  await assert.rejects(
    cni().add(network, attachment),
    /network "net" of "c1": .*"bad": ADD: no address left; 10\/8/,
  );
  assert.deepEqual(
    calls().map((l) => l.split(" ").slice(0, 2).join(" ")),
    ["good ADD", "bad ADD", "bad DEL", "good DEL"],
  );
  assert.ok(!existsSync(join(dir, "cache/results/net-c1-eth0")));
});

test("an attachment whose undo fails stays remembered, and a later DEL works", async () => {
  plugin("bad", `[ -e ${dir}/ok ] || { echo '{"code":11,"msg":"busy"}'; exit 1; }`);
  const network = parseNetwork(list([{ type: "bad" }]));
  await assert.rejects(cni().add(network, attachment), (err: unknown) => codeOf(err) === "unavailable");
  assert.deepEqual(readdirSync(join(dir, "cache/results")), ["net-c1-eth0"]);
  writeFileSync(join(dir, "ok"), "");
  await cni().remove(network, attachment);
  assert.deepEqual(readdirSync(join(dir, "cache/results")), []);
});

test("a plugin that hangs is killed with its children", async () => {
  plugin("slow", `[ $CNI_COMMAND = DEL ] && exit 0; sleep 1000 & echo $! >${dir}/pid; wait`);
  const network = parseNetwork(list([{ type: "slow" }]));
  await assert.rejects(
    cni(300).add(network, attachment),
    (err: unknown) => codeOf(err) === "deadline-exceeded",
  );
  const pid = readFileSync(join(dir, "pid"), "utf8").trim();
  const state = existsSync(`/proc/${pid}/stat`)
    ? readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.[0]
    : "gone";
  assert.ok(state === "gone" || state === "Z", `its child is still there: ${state}`);
});

test("a plugin's type is a name, never a path (S54)", () => {
  for (const type of ["../../../bin/sh", "/bin/sh", "a/b", "..", ".", "", 7])
    assert.throws(() => parseNetwork(list([{ type }])), /not the name of a program/);
  assert.throws(() => parseNetwork(list([{ type: "x" }], { name: "../n" })), /not a network name/);
  assert.throws(() => parseNetwork(list([{ type: "x" }], { cniVersion: "9.0" })), /not supported/);
  assert.throws(() => parseNetwork(list([])), /no plugins/);
  assert.throws(() => parseNetwork("[]"), /not a JSON object/);
});

test("ids and arguments cannot break out of files and variables", async () => {
  plugin("one", answer);
  const network = parseNetwork(list([{ type: "one" }]));
  for (const bad of [{ containerId: "../c" }, { ifName: "a/b" }, { args: new Map([["K", "v;X=1"]]) }])
    await assert.rejects(
      cni().add(network, { ...attachment, ...bad }),
      (e: unknown) => codeOf(e) === "invalid-argument",
    );
});

test("folders: by name, broken files are passed over, none is an error", async () => {
  const conf = join(dir, "net.d");
  await assert.rejects(loadNetworks(conf, 0, noLog), /no network configuration/);
  mkdirSync(conf);
  writeFileSync(join(conf, "20-b.conflist"), list([{ type: "x" }], { name: "b" }));
  writeFileSync(join(conf, "10-a.conf"), JSON.stringify({ name: "a", type: "y" }));
  writeFileSync(join(conf, "05-broken.conflist"), "{");
  writeFileSync(join(conf, "00-not.txt"), "{}");
  assert.deepEqual(
    (await loadNetworks(conf, 0, noLog)).map((n) => n.name),
    ["a", "b"],
  );
  assert.deepEqual(
    (await loadNetworks(conf, 1, noLog)).map((n) => n.name),
    ["a"],
  );
});
