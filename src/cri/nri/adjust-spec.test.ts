import assert from "node:assert/strict";
import { test } from "node:test";
import type { NriAdjustment, NriLinuxAdjustment } from "../../core/nri/types.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { type AdjustHost, adjustSpec } from "./adjust-spec.ts";
import { fromSpec, layOver } from "./resources.ts";

const spec: Spec = {
  ociVersion: "1.1.0",
  process: {
    user: { uid: 0, gid: 0 },
    cwd: "/",
    args: ["a"],
    env: ["A=1", "B=2", "C=3"],
    rlimits: [{ type: "R", hard: 1, soft: 1 }],
  },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/data/deep", type: "bind", source: "/x" },
  ],
  annotations: { a: "1", b: "2" },
  hooks: { prestart: [{ path: "/old" }] },
  linux: {
    namespaces: [{ type: "pid" }, { type: "uts" }],
    sysctl: { "k.a": "1", "k.b": "2" },
    devices: [{ path: "/dev/a", type: "c", major: 1, minor: 1 }],
    resources: {
      memory: { limit: 100 },
      cpu: { shares: 5, cpus: "0" },
      devices: [{ allow: false, access: "rwm" }],
    },
  },
};
const linux: NriLinuxAdjustment = {
  devices: [],
  cgroupsPath: "",
  namespaces: [],
  sysctl: {},
  netDevices: {},
};
const nothing: NriAdjustment = {
  annotations: {},
  mounts: [],
  env: [],
  rlimits: [],
  CDIDevices: [],
  args: [],
};
const classes: string[] = [];
const host: AdjustHost = {
  swapController: true,
  oomScore: (wanted) => Math.max(wanted, 10),
  async injectCdi(target, names) {
    target.process?.env?.push(`CDI=${names.join("+")}`);
  },
  async setClasses(_spec, blockio, rdt) {
    classes.push(`${blockio}/${rdt}`);
  },
};

test("nothing wanted is nothing changed, and the original is never", async () => {
  const before = structuredClone(spec);
  assert.deepEqual(await adjustSpec(spec, nothing, host), spec);
  await adjustSpec(spec, { ...nothing, args: ["x"], linux: { ...linux, cgroupsPath: "/y" } }, host);
  assert.deepEqual(spec, before);
});

test("environment, arguments, annotations, limits, hooks", async () => {
  const changed = await adjustSpec(
    spec,
    {
      ...nothing,
      env: [
        { key: "-A", value: "" },
        { key: "B", value: "new" },
        { key: "D", value: "4=5" },
      ],
      args: ["b", "c"],
      annotations: { "-a": "", c: "3" },
      rlimits: [{ type: "R", hard: 9n, soft: 8n }],
      hooks: {
        prestart: [{ path: "/new", args: ["new"], env: [], timeout: { value: 3n } }],
        createRuntime: [],
        createContainer: [],
        startContainer: [],
        poststart: [],
        poststop: [],
      },
      CDIDevices: [{ name: "v/c=1" }, { name: "v/c=2" }],
    },
    host,
  );
  // changed in its old place, new ones behind
  assert.deepEqual(changed.process?.env, ["B=new", "C=3", "D=4=5", "CDI=v/c=1+v/c=2"]);
  assert.deepEqual(changed.process?.args, ["b", "c"]);
  assert.deepEqual(changed.annotations, { b: "2", c: "3" });
  assert.deepEqual(changed.process?.rlimits, [{ type: "R", hard: 9n, soft: 8n }]);
  assert.deepEqual(changed.hooks?.["prestart"], [
    { path: "/old" },
    { path: "/new", args: ["new"], env: [], timeout: 3 },
  ]);
});

test("mounts: replaced, removed, and none hides one that was made before it", async () => {
  const changed = await adjustSpec(
    spec,
    {
      ...nothing,
      mounts: [
        { destination: "-/proc", type: "", source: "", options: [] },
        { destination: "/data", type: "bind", source: "/y", options: ["rbind", "rslave"] },
      ],
    },
    host,
  );
  assert.deepEqual(
    changed.mounts?.map(({ destination }) => destination),
    ["/data", "/data/deep"],
  );
  assert.equal(changed.linux?.rootfsPropagation, "rslave");
});

test("what is Linux's", async () => {
  const changed = await adjustSpec(
    spec,
    {
      ...nothing,
      linux: {
        ...linux,
        devices: [
          { path: "-/dev/a", type: "", major: 0n, minor: 0n },
          { path: "/dev/b", type: "c", major: 1n, minor: 3n, fileMode: { value: 0o600 } },
        ],
        cgroupsPath: "/c",
        oomScoreAdj: { value: -5n },
        namespaces: [
          { type: "-uts", path: "" },
          { type: "pid", path: "/p" },
        ],
        sysctl: { "-k.a": "", "k.c": "3" },
        ioPriority: { class: 2, priority: 4 },
        scheduler: { policy: 4, nice: 5, priority: 0, flags: [0], runtime: 0n, deadline: 0n, period: 0n },
        memoryPolicy: { mode: 2, nodes: "0", flags: [0] },
        rdt: { closId: { value: "gold" }, remove: false },
        netDevices: { eth1: { name: "net1" } },
        resources: {
          memory: { limit: { value: 200n } },
          hugepageLimits: [{ pageSize: "2MB", limit: 4n }],
          unified: { "memory.high": "9" },
          devices: [],
          pids: { limit: 3n },
          rdtClass: { value: "gold" },
        },
      },
    },
    host,
  );
  const { linux: l, process } = changed;
  assert.deepEqual(l?.devices, [{ path: "/dev/b", type: "c", major: 1n, minor: 3n, fileMode: 0o600 }]);
  assert.deepEqual(l?.resources?.devices, [
    { allow: false, access: "rwm" },
    { allow: true, type: "c", major: 1n, minor: 3n, access: "rwm" },
  ]);
  assert.deepEqual([l?.cgroupsPath, process?.oomScoreAdj], ["/c", 10]);
  assert.deepEqual(l?.namespaces, [{ type: "pid", path: "/p" }]);
  assert.deepEqual(l?.sysctl, { "k.b": "2", "k.c": "3" });
  const more = { ...l, ...process } as unknown as Record<string, Record<string, unknown>>;
  assert.deepEqual(more["ioPriority"], { class: "IOPRIO_CLASS_BE", priority: 4 });
  assert.equal(more["scheduler"]?.["policy"], "SCHED_BATCH");
  assert.deepEqual(more["memoryPolicy"], { mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] });
  assert.deepEqual(more["netDevices"], { eth1: { name: "net1" } });
  assert.deepEqual(l?.intelRdt, { closID: "gold" });
  // a memory limit is one of memory and swap together, too
  assert.deepEqual(l?.resources?.memory, { limit: 200n, swap: 200n });
  assert.deepEqual(l?.resources?.cpu, { shares: 5, cpus: "0" });
  assert.deepEqual([l?.resources?.pids, l?.resources?.unified], [{ limit: 3n }, { "memory.high": "9" }]);
});

test("classes of block I/O and RDT are set by the host; an empty one takes it away", async () => {
  classes.length = 0;
  const resources = { hugepageLimits: [], unified: {}, devices: [] };
  const set = { ...resources, blockioClass: { value: "slow" }, rdtClass: { value: "gold" } };
  await adjustSpec(spec, { ...nothing, linux: { ...linux, resources: set } }, host);
  assert.deepEqual(classes, ["slow/gold"]);
  const had = structuredClone(spec);
  had.linux = {
    ...had.linux,
    intelRdt: { closID: "x" },
    resources: { ...had.linux?.resources, blockIO: { weight: 1 } },
  };
  const clear = { ...resources, blockioClass: { value: "" }, rdtClass: { value: "" } };
  const cleared = await adjustSpec(had, { ...nothing, linux: { ...linux, resources: clear } }, host);
  assert.deepEqual([cleared.linux?.intelRdt, cleared.linux?.resources?.blockIO], [undefined, undefined]);
});

test("limits of a spec for plugins, and back", () => {
  const seen = fromSpec({ memory: { limit: 5 }, cpu: { quota: -1, mems: "1" }, pids: { limit: 7 } });
  assert.deepEqual(
    [seen.memory?.limit, seen.cpu?.quota, seen.cpu?.mems],
    [{ value: 5n }, { value: -1n }, "1"],
  );
  const resources = {};
  layOver(resources, seen, false);
  assert.deepEqual(resources, { memory: { limit: 5n }, cpu: { quota: -1n, mems: "1" }, pids: { limit: 7n } });
});
