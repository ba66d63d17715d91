import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { containerInput, type SpecCase } from "../../../test/fakes/cri-spec.ts";
import { MountSchema } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { defaultSpec } from "../../oci/spec/default.ts";
import type { Spec } from "../../oci/spec/types.ts";
import type { MountInfo } from "../../platform/mounts/mountinfo.ts";
import { mountOf } from "./mount-table.ts";
import { type BindMount, type MountLook, requestedMounts, withMounts } from "./mounts.ts";

const mount = (
  target: string,
  propagation: readonly string[],
  superOptions: readonly string[] = [],
): MountInfo => ({
  id: 1,
  parent: 0,
  device: "0:1",
  root: "/",
  target,
  options: [],
  propagation,
  type: "ext4",
  source: "none",
  superOptions,
});
const table = [
  mount("/", []),
  mount("/shared", ["shared:1"]),
  mount("/slave", ["master:2"]),
  mount("/sys/fs/cgroup", [], ["rw", "nsdelegate", "memory_recursiveprot"]),
];
const labelled: string[] = [];
const look: MountLook = {
  mounts: () => table,
  source: async (path) => path.replace("/link", "/shared"),
  relabel: async (path, label) => {
    labelled.push(`${path} ${label}`);
  },
};

async function build(
  mounts: readonly MessageInitShape<typeof MountSchema>[],
  c: SpecCase = {},
  extra: readonly BindMount[] = [],
  cgroupNamespace = c.host?.cgroupV2 === true,
): Promise<Spec> {
  const spec = defaultSpec("k8s.io", "c1");
  if (cgroupNamespace) spec.linux?.namespaces?.push({ type: "cgroup" });
  const list = requestedMounts(
    mounts.map((m) => create(MountSchema, m)),
    undefined,
  );
  await withMounts(spec, [...list, ...extra], containerInput(c), "label", look);
  return spec;
}
const last = (spec: Spec) => spec.mounts?.at(-1);
const rro: SpecCase = {
  handler: { features: { ociVersionMax: "", recursiveReadOnlyMounts: true, idmapMounts: true } },
};

test("mounts: a bind mount", async () => {
  const spec = await build([{ hostPath: "/a", containerPath: "/b" }]);
  assert.deepEqual(last(spec), {
    destination: "/b",
    source: "/a",
    type: "bind",
    options: ["rbind", "rprivate", "rw"],
  });
  assert.equal(spec.linux?.rootfsPropagation, undefined);
});

test("mounts: propagation and what it needs", async () => {
  const both = await build([
    { hostPath: "/shared/x", containerPath: "/b", propagation: 2 },
    { hostPath: "/slave/x", containerPath: "/c", propagation: 1 },
  ]);
  assert.deepEqual(
    both.mounts?.slice(-2).map((m) => m.options?.[1]),
    ["rshared", "rslave"],
  );
  assert.equal(both.linux?.rootfsPropagation, "rshared");
  const link = await build([{ hostPath: "/link", containerPath: "/b", propagation: 2, readonly: true }]);
  assert.deepEqual(last(link)?.options, ["rbind", "rshared", "ro"]);
  const slave = await build([{ hostPath: "/shared", containerPath: "/b", propagation: 1 }]);
  assert.equal(slave.linux?.rootfsPropagation, "rslave");
  await assert.rejects(
    build([{ hostPath: "/slave/x", containerPath: "/b", propagation: 2 }]),
    /path "\/slave\/x" is mounted on "\/slave" but it is not a shared mount/,
  );
  await assert.rejects(
    build([{ hostPath: "/private", containerPath: "/b", propagation: 1 }]),
    /is mounted on "\/" but it is not a shared or slave mount/,
  );
});

test("mounts: recursive read-only and what it needs", async () => {
  const readonly = { hostPath: "/shared", containerPath: "/b", readonly: true, recursiveReadOnly: true };
  assert.deepEqual(last(await build([readonly], rro))?.options, ["rbind", "rprivate", "rro"]);
  await assert.rejects(build([readonly]), /RROUnsupported/);
  await assert.rejects(build([{ ...readonly, propagation: 1 }], rro), /needs private propagation/);
  await assert.rejects(build([{ ...readonly, readonly: false }], rro), /conflicts with RW mount/);
});

test("mounts: defaults give way, /dev takes everything below", async () => {
  const spec = await build([{ hostPath: "/dev", containerPath: "/dev/" }]);
  const places = spec.mounts?.map((m) => m.destination) ?? [];
  assert.deepEqual(
    places.filter((p) => p.startsWith("/dev")),
    ["/dev/"],
  );
  assert.ok(places.includes("/proc"));
});

test("mounts: fewer parts first, otherwise as given", async () => {
  const spec = await build([
    { hostPath: "/1", containerPath: "/a/b/c" },
    { hostPath: "/2", containerPath: "/a" },
    { hostPath: "/3", containerPath: "/z/y" },
    { hostPath: "/4", containerPath: "/a/b" },
  ]);
  assert.deepEqual(
    spec.mounts?.slice(-4).map((m) => m.destination),
    ["/a", "/z/y", "/a/b", "/a/b/c"],
  );
});

test("mounts: id mappings", async () => {
  const mapping = [{ hostId: 9, containerId: 0, length: 3 }];
  const spec = await build([
    { hostPath: "/a", containerPath: "/b", uidMappings: mapping, gidMappings: mapping },
  ]);
  assert.deepEqual(last(spec)?.uidMappings, [{ hostID: 9, containerID: 0, size: 3 }]);
  assert.deepEqual(last(spec)?.gidMappings, [{ hostID: 9, containerID: 0, size: 3 }]);
});

test("mounts: labels when asked for", async () => {
  labelled.length = 0;
  await build([
    { hostPath: "/a", containerPath: "/b", selinuxRelabel: true },
    { hostPath: "/c", containerPath: "/d" },
  ]);
  assert.deepEqual(labelled, ["/a label"]);
});

test("mounts: cgroups", async () => {
  const cgroup = async (c: SpecCase, own?: boolean): Promise<readonly string[] | undefined> =>
    (await build([], c, [], own)).mounts?.find((m) => m.type === "cgroup")?.options?.slice(4);
  // in the node's cgroup namespace the node's options are repeated
  const shared = await cgroup({ host: { cgroupV2: true } }, false);
  assert.deepEqual(shared, ["ro", "nsdelegate", "memory_recursiveprot"]);
  // those of version 1 have none
  assert.deepEqual(await cgroup({}), ["ro"]);
  assert.deepEqual(await cgroup({ host: { cgroupV2: true } }), ["ro"]);
  assert.deepEqual(await cgroup({ host: { cgroupV2: true }, handler: { cgroupWritable: true } }), ["rw"]);
});

test("mounts: requests that make no sense", () => {
  const one = (m: MessageInitShape<typeof MountSchema>): BindMount[] =>
    requestedMounts([create(MountSchema, m)], undefined);
  assert.throws(() => one({ hostPath: "", containerPath: "/b" }), /host path "" is not usable/);
  assert.throws(() => one({ hostPath: "/a", containerPath: "" }), /container path "" is not usable/);
  assert.throws(() => one({ hostPath: "/a\0", containerPath: "/b" }), /is not usable/);
  assert.throws(() => one({ containerPath: "/b", image: { image: "x" } }), /was not prepared/);
});

test("mounts: the mount a path is on", () => {
  assert.equal(mountOf("/shared/a/b", table)?.target, "/shared");
  assert.equal(mountOf("/sharedness", table)?.target, "/");
});
