import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { defaultSpec } from "../spec/default.ts";
import { deviceNames, type HostDevice, injectDevices } from "./cdi.ts";
import { readCdiFiles } from "./files.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-cdi-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const low = join(dir, "low");
const high = join(dir, "high");
mkdirSync(low);
mkdirSync(high);
const write = (path: string, value: unknown): void => writeFileSync(path, JSON.stringify(value));

const device = (name: string, containerEdits: object): object => ({ name, containerEdits });
write(join(low, "a.json"), {
  cdiVersion: "0.6.0",
  kind: "vendor.test/gpu",
  containerEdits: {
    env: ["COMMON=1"],
    hooks: [{ hookName: "createContainer", path: "/bin/hook", args: ["hook"] }],
  },
  devices: [
    device("0", { deviceNodes: [{ path: "/dev/g0", hostPath: "/dev/real0" }], env: ["WHICH=low"] }),
    device("1", {
      deviceNodes: [{ path: "/dev/g1", type: "c", major: 9, minor: 1, permissions: "r", uid: 5 }],
    }),
  ],
});
write(join(high, "b.json"), {
  cdiVersion: "1.0.0",
  kind: "vendor.test/gpu",
  devices: [
    device("0", {
      env: ["WHICH=high"],
      mounts: [{ hostPath: "/h", containerPath: "/c" }],
      additionalGids: [0, 44],
    }),
  ],
});
writeFileSync(join(low, "c.yaml"), "kind: x");
writeFileSync(
  join(low, "e.yml"),
  `cdiVersion: "0.5.0"
kind: vendor.example/net
devices:
  - name: eth
    containerEdits:
      env: ["NET=1"]
      deviceNodes:
        - {path: /dev/n0, type: c, major: 10, minor: 200, fileMode: 0660}
`,
);
write(join(low, "d.json"), { cdiVersion: "0.6.0", kind: "no", devices: [] });

const lookup = (path: string): HostDevice => {
  assert.equal(path, "/dev/real0");
  return { type: "c", major: 195, minor: 7, mode: 0o20660 };
};

test("files: JSON and YAML are read, broken ones are named with the reason", () => {
  const { specs, broken } = readCdiFiles([low, join(dir, "none"), high]);
  assert.deepEqual(deviceNames(specs), ["vendor.example/net=eth", "vendor.test/gpu=0", "vendor.test/gpu=1"]);
  const node = specs.find((s) => s.kind === "vendor.example/net")?.devices[0]?.containerEdits
    .deviceNodes?.[0];
  assert.deepEqual(node, { path: "/dev/n0", type: "c", major: 10, minor: 200, fileMode: 0o660 });
  assert.deepEqual(
    broken.map((b) => b.file),
    [join(low, "c.yaml"), join(low, "d.json")],
  );
  assert.match(broken[0]?.reason ?? "", /cdiVersion/);
});

test("edits: the file's once, the device's each; the host is asked for what a file leaves out", () => {
  const { specs } = readCdiFiles([low]);
  const spec = defaultSpec("ns", "id");
  spec.process = { user: { uid: 1000, gid: 1001 }, cwd: "/" };
  assert.deepEqual(injectDevices(spec, ["vendor.test/gpu=0", "vendor.test/gpu=1"], specs, lookup), []);
  assert.deepEqual(spec.process?.env, ["COMMON=1", "WHICH=low"]);
  assert.deepEqual(spec.hooks, { createContainer: [{ path: "/bin/hook", args: ["hook"] }] });
  assert.deepEqual(spec.linux?.devices, [
    { path: "/dev/g0", type: "c", major: 195, minor: 7, fileMode: 0o660, uid: 1000, gid: 1001 },
    { path: "/dev/g1", type: "c", major: 9, minor: 1, fileMode: 0o666, uid: 5, gid: 1001 },
  ]);
  assert.deepEqual(spec.linux?.resources?.devices?.slice(-2), [
    { allow: true, type: "c", major: 195, minor: 7, access: "rwm" },
    { allow: true, type: "c", major: 9, minor: 1, access: "r" },
  ]);
});

test("the later folder wins", () => {
  const { specs } = readCdiFiles([low, high]);
  const spec = defaultSpec("ns", "id");
  injectDevices(spec, ["vendor.test/gpu=0"], specs, lookup);
  assert.deepEqual(spec.process?.env, ["WHICH=high"]);
  assert.deepEqual(spec.process?.user.additionalGids, [44]);
  assert.deepEqual(spec.mounts?.at(-1), {
    destination: "/c",
    source: "/h",
    type: "bind",
    options: ["rbind", "nosuid", "nodev", "ro"],
  });
});

test("a missing device leaves the spec as it was", () => {
  const { specs } = readCdiFiles([low]);
  const spec = defaultSpec("ns", "id");
  assert.deepEqual(injectDevices(spec, ["vendor.test/gpu=0", "vendor.test/gpu=9"], specs, lookup), [
    "vendor.test/gpu=9",
  ]);
  assert.deepEqual(spec, defaultSpec("ns", "id"));
  assert.throws(() => injectDevices(spec, ["0"], specs, lookup), /VENDOR\/CLASS=NAME/);
});
