import assert from "node:assert/strict";
import { test } from "node:test";
import { containerInput, type SpecCase } from "../../../test/fakes/cri-spec.ts";
import { isFailedPrecondition, isInvalidArgument } from "../../core/errors.ts";
import { DEFAULT_CAPABILITIES, MASKED_PATHS } from "../../oci/spec/default.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { buildContainerSpec } from "./container.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const security = (
  securityContext: NonNullable<NonNullable<NonNullable<SpecCase["container"]>["linux"]>["securityContext"]>,
): SpecCase => ({ container: { linux: { securityContext } } });
const privileged: SpecCase = {
  container: { linux: { securityContext: { privileged: true } } },
  pod: { linux: { securityContext: { privileged: true } } },
};
const namespaces = (spec: Spec): Record<string, string | undefined> =>
  Object.fromEntries((spec.linux?.namespaces ?? []).map((n) => [n.type, n.path]));
const mountAt = (spec: Spec, place: string) => spec.mounts?.filter((m) => m.destination === place);

/** One behaviour: what changes, what is looked at, what must be there. */
type Row = readonly [name: string, c: SpecCase, look: (spec: Spec) => unknown, want: unknown];

const rows: readonly Row[] = [
  // command
  ["image's entry point and command", {}, (s) => s.process?.args, ["/entry", "default"]],
  ["args replace Cmd", { container: { args: ["a"] } }, (s) => s.process?.args, ["/entry", "a"]],
  ["a command replaces both", { container: { command: ["c"] } }, (s) => s.process?.args, ["c"]],
  ["command and args", { container: { command: ["c"], args: ["a"] } }, (s) => s.process?.args, ["c", "a"]],
  ["an empty entry point is none", { image: { entrypoint: [""] } }, (s) => s.process?.args, ["default"]],
  // folder
  ["no working dir", {}, (s) => s.process?.cwd, "/"],
  ["image's working dir", { image: { workingDir: "/w" } }, (s) => s.process?.cwd, "/w"],
  [
    "the request's wins",
    { container: { workingDir: "/r" }, image: { workingDir: "/w" } },
    (s) => s.process?.cwd,
    "/r",
  ],
  // environment
  [
    "order and overrides of the environment",
    {
      container: {
        tty: true,
        envs: [
          { key: "FROM", value: bytes("request") },
          { key: "LAST", value: bytes("a=b") },
        ],
      },
    },
    (s) => s.process?.env,
    ["PATH=/bin", "TERM=xterm", "HOSTNAME=host-of-pod", "FROM=request", "LAST=a=b"],
  ],
  ["a default PATH", { image: { env: [] } }, (s) => s.process?.env?.[0]?.startsWith("PATH=/usr/local"), true],
  ["the node's name without one", { pod: { hostname: "" } }, (s) => s.process?.env?.[1], "HOSTNAME=node"],
  ["terminal", { container: { tty: true } }, (s) => s.process?.terminal, true],
  // user
  ["root by default", {}, (s) => s.process?.user, { uid: 0, gid: 0, additionalGids: [0] }],
  [
    "numbers of the image",
    { image: { user: "7:8" } },
    (s) => s.process?.user,
    { uid: 7, gid: 8, additionalGids: [8] },
  ],
  [
    "run_as_user, run_as_group and groups",
    security({ runAsUser: { value: 1000n }, runAsGroup: { value: 2000n }, supplementalGroups: [5n, 3n, 5n] }),
    (s) => s.process?.user,
    { uid: 1000, gid: 2000, additionalGids: [2000, 3, 5] },
  ],
  // capabilities
  ["default capabilities", {}, (s) => s.process?.capabilities?.bounding, DEFAULT_CAPABILITIES],
  [
    "none inheritable or ambient",
    {},
    (s) => Object.keys(s.process?.capabilities ?? {}).sort(),
    ["bounding", "effective", "permitted"],
  ],
  [
    "add ALL, drop one",
    security({ capabilities: { addCapabilities: ["ALL"], dropCapabilities: ["chown"] } }),
    (s) => s.process?.capabilities?.effective,
    ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"],
  ],
  [
    "drop ALL, add one",
    security({ capabilities: { addCapabilities: ["NET_ADMIN"], dropCapabilities: ["ALL"] } }),
    (s) => s.process?.capabilities,
    { bounding: ["CAP_NET_ADMIN"], effective: ["CAP_NET_ADMIN"], permitted: ["CAP_NET_ADMIN"] },
  ],
  [
    "ambient capabilities are not given",
    security({ capabilities: { addAmbientCapabilities: ["NET_ADMIN"] } }),
    (s) => s.process?.capabilities?.ambient,
    undefined,
  ],
  // privileges
  ["new privileges may be got", {}, (s) => s.process?.noNewPrivileges, false],
  ["no_new_privs", security({ noNewPrivs: true }), (s) => s.process?.noNewPrivileges, true],
  ["privileged: capabilities", privileged, (s) => s.process?.capabilities?.bounding?.length, 3],
  [
    "privileged: /sys and cgroups writable",
    privileged,
    (s) =>
      [...(mountAt(s, "/sys") ?? []), ...(mountAt(s, "/sys/fs/cgroup") ?? [])].map((m) => m.options?.at(-1)),
    ["rw", "rw"],
  ],
  [
    "privileged: every device",
    privileged,
    (s) => [s.linux?.resources?.devices, (s.linux?.devices?.length ?? 0) > 3],
    [[{ allow: true, access: "rwm" }], true],
  ],
  [
    "privileged without host devices",
    { ...privileged, handler: { privilegedWithoutHostDevices: true } },
    (s) => [s.linux?.devices, s.linux?.resources?.devices?.[0]],
    [undefined, { allow: false, access: "rwm" }],
  ],
  [
    "privileged without host devices, all allowed",
    {
      ...privileged,
      handler: { privilegedWithoutHostDevices: true, privilegedWithoutHostDevicesAllDevicesAllowed: true },
    },
    (s) => [s.linux?.devices, s.linux?.resources?.devices],
    [undefined, [{ allow: true, access: "rwm" }]],
  ],
  // paths
  ["masked paths are the request's", security({ maskedPaths: ["/m"] }), (s) => s.linux?.maskedPaths, ["/m"]],
  ["no masked paths asked for", {}, (s) => [s.linux?.maskedPaths, s.linux?.readonlyPaths], [[], []]],
  [
    "disable_proc_mount keeps the default ones",
    { ...security({ maskedPaths: ["/m"] }), settings: { disableProcMount: true } },
    (s) => s.linux?.maskedPaths,
    MASKED_PATHS,
  ],
  [
    "privileged clears them",
    {
      container: { linux: { securityContext: { privileged: true, maskedPaths: ["/m"] } } },
      pod: privileged.pod ?? {},
    },
    (s) => s.linux?.maskedPaths,
    [],
  ],
  ["read-only root", security({ readonlyRootfs: true }), (s) => s.root, { path: "rootfs", readonly: true }],
  // namespaces
  [
    "the pod's namespaces",
    {},
    namespaces,
    {
      mount: undefined,
      network: "/proc/42/ns/net",
      ipc: "/proc/42/ns/ipc",
      uts: "/proc/42/ns/uts",
      pid: "/proc/42/ns/pid",
    },
  ],
  [
    "an own PID namespace",
    security({ namespaceOptions: { pid: 1 } }),
    (s) => Object.hasOwn(namespaces(s), "pid") && namespaces(s)["pid"] === undefined,
    true,
  ],
  [
    "a cgroup namespace on v2",
    { host: { cgroupV2: true } },
    (s) => Object.hasOwn(namespaces(s), "cgroup"),
    true,
  ],
  [
    "not for privileged ones",
    { ...privileged, host: { cgroupV2: true } },
    (s) => Object.hasOwn(namespaces(s), "cgroup"),
    false,
  ],
  // cgroups and limits
  ["cgroup of a pod without parent", {}, (s) => s.linux?.cgroupsPath, "/k8s.io/c1"],
  [
    "cgroup below a parent",
    { pod: { linux: { cgroupParent: "/kubepods/x" } } },
    (s) => s.linux?.cgroupsPath,
    "/kubepods/x/c1",
  ],
  [
    "cgroup of the systemd driver",
    { pod: { linux: { cgroupParent: "/kubepods.slice/kubepods-x.slice" } } },
    (s) => s.linux?.cgroupsPath,
    "kubepods-x.slice:cri-containerd:c1",
  ],
  [
    "systemd without a slice",
    { handler: { systemdCgroup: true } },
    (s) => s.linux?.cgroupsPath,
    "system.slice:cri-containerd:c1",
  ],
  [
    "limits, exact",
    {
      container: {
        linux: {
          resources: {
            cpuPeriod: 100000n,
            cpuQuota: -1n,
            cpuShares: 512n,
            cpusetCpus: "0",
            memoryLimitInBytes: 9007199254740993n,
          },
        },
      },
    },
    (s) => [s.linux?.resources?.cpu, s.linux?.resources?.memory],
    [
      { period: 100000n, quota: -1n, shares: 512n, cpus: "0" },
      { limit: 9007199254740993n, swap: 9007199254740993n },
    ],
  ],
  [
    "swap limit",
    { container: { linux: { resources: { memoryLimitInBytes: 10n, memorySwapLimitInBytes: 20n } } } },
    (s) => s.linux?.resources?.memory,
    { limit: 10n, swap: 20n },
  ],
  [
    "no swap controller",
    { container: { linux: { resources: { memoryLimitInBytes: 10n } } }, host: { swapController: false } },
    (s) => s.linux?.resources?.memory,
    { limit: 10n },
  ],
  [
    "unified limits",
    { container: { linux: { resources: { unified: { "memory.high": "1" } } } } },
    (s) => s.linux?.resources?.unified,
    { "memory.high": "1" },
  ],
  [
    "huge pages",
    {
      container: { linux: { resources: { hugepageLimits: [{ pageSize: "2MB", limit: 4n }] } } },
      settings: { disableHugetlbController: false },
    },
    (s) => s.linux?.resources?.hugepageLimits,
    [{ pageSize: "2MB", limit: 4n }],
  ],
  [
    "huge pages without a controller, tolerated",
    {
      container: { linux: { resources: { hugepageLimits: [{ pageSize: "2MB", limit: 4n }] } } },
      settings: { disableHugetlbController: false },
      host: { hugetlbController: false },
    },
    (s) => s.linux?.resources?.hugepageLimits,
    undefined,
  ],
  [
    "oom score",
    { container: { linux: { resources: { oomScoreAdj: -500n } } } },
    (s) => s.process?.oomScoreAdj,
    -500,
  ],
  [
    "oom score that cannot be had",
    {
      container: { linux: { resources: { oomScoreAdj: -500n } } },
      host: { canLowerOomScore: false, oomScoreAdj: 3 },
    },
    (s) => s.process?.oomScoreAdj,
    3,
  ],
  // profiles
  ["no seccomp unless asked", {}, (s) => s.linux?.seccomp, undefined],
  [
    "seccomp RuntimeDefault",
    security({ seccomp: { profileType: 0 } }),
    (s) => s.linux?.seccomp?.defaultAction,
    "SCMP_ACT_ERRNO",
  ],
  ["seccomp Unconfined", security({ seccomp: { profileType: 1 } }), (s) => s.linux?.seccomp, undefined],
  [
    "seccomp by its deprecated name",
    security({ seccompProfilePath: "docker/default" }),
    (s) => s.linux?.seccomp?.defaultAction,
    "SCMP_ACT_ERRNO",
  ],
  [
    "unset_seccomp_profile",
    { settings: { unsetSeccompProfile: "runtime/default" } },
    (s) => s.linux?.seccomp?.defaultAction,
    "SCMP_ACT_ERRNO",
  ],
  [
    "privileged has no seccomp",
    {
      container: { linux: { securityContext: { privileged: true, seccomp: { profileType: 0 } } } },
      pod: privileged.pod ?? {},
    },
    (s) => s.linux?.seccomp,
    undefined,
  ],
  [
    "apparmor Unconfined where there is none",
    security({ apparmor: { profileType: 1 } }),
    (s) => s.process?.apparmorProfile,
    undefined,
  ],
  // annotations
  [
    "annotations of pod and container",
    {},
    (s) => s.annotations,
    {
      "io.kubernetes.cri.sandbox-id": "p1",
      "io.kubernetes.cri.sandbox-namespace": "ns",
      "io.kubernetes.cri.sandbox-uid": "uid-1",
      "io.kubernetes.cri.sandbox-name": "pod",
      "io.kubernetes.cri.container-name": "app",
      "io.kubernetes.cri.image-name": "registry.test/app:1",
      "io.kubernetes.cri.container-type": "container",
    },
  ],
  [
    "annotations that are let through",
    {
      pod: { annotations: { "io.vendor.a": "1", "other/a": "2" } },
      container: { annotations: { "c.x": "3", "io.kubernetes.cri.container-type": "sandbox" } },
      handler: { podAnnotations: ["io.vendor.*"], containerAnnotations: ["*"] },
    },
    (s) => [
      s.annotations?.["io.vendor.a"],
      s.annotations?.["other/a"],
      s.annotations?.["c.x"],
      s.annotations?.["io.kubernetes.cri.container-type"],
    ],
    ["1", undefined, "3", "container"],
  ],
  // base spec
  [
    "base_runtime_spec keeps its rlimits",
    {
      handler: {
        baseRuntimeSpec: {
          ociVersion: "1.0.2",
          process: {
            user: { uid: 0, gid: 0 },
            cwd: "/",
            rlimits: [{ type: "RLIMIT_CORE", hard: 1, soft: 1 }],
          },
          mounts: [{ destination: "/run", type: "tmpfs" }],
        },
      },
    },
    (s) => [s.process?.rlimits?.[0]?.type, mountAt(s, "/run"), s.process?.args?.[0]],
    ["RLIMIT_CORE", [], "/entry"],
  ],
  ["no rlimits otherwise", {}, (s) => s.process?.rlimits, undefined],
  ["lowest version", {}, (s) => s.ociVersion, "1.0.2"],
];

for (const [name, c, look, want] of rows) {
  test(`container spec: ${name}`, async () => {
    assert.deepEqual(look(await buildContainerSpec(containerInput(c))), want);
  });
}

/** Requests that are refused. */
const refused: readonly (readonly [
  name: string,
  c: SpecCase,
  check: (err: unknown) => boolean,
  text: RegExp,
])[] = [
  ["nothing to run", { image: { entrypoint: [], cmd: [] } }, isInvalidArgument, /no command specified/],
  [
    "a group without a user",
    security({ runAsGroup: { value: 5n } }),
    isInvalidArgument,
    /"5" is specified without user/,
  ],
  [
    "privileged in a pod that is not",
    security({ privileged: true }),
    isFailedPrecondition,
    /no privileged container allowed in sandbox/,
  ],
  [
    "huge pages without a controller",
    {
      container: { linux: { resources: { hugepageLimits: [{ pageSize: "2MB", limit: 4n }] } } },
      settings: { disableHugetlbController: false, tolerateMissingHugetlbController: false },
      host: { hugetlbController: false },
    },
    isFailedPrecondition,
    /hugetlb cgroup controller is missing/,
  ],
  [
    "apparmor where there is none",
    security({ apparmor: { profileType: 0 } }),
    isFailedPrecondition,
    /apparmor is not supported/,
  ],
  [
    "a localhost reference with another type",
    security({ seccomp: { profileType: 0, localhostRef: "x" } }),
    isInvalidArgument,
    /LocalhostRef must only be set/,
  ],
  [
    "a seccomp file that is not there",
    security({ seccomp: { profileType: 2, localhostRef: "localhost//nonexistent.json" } }),
    isInvalidArgument,
    /cannot load seccomp profile "\/nonexistent.json"/,
  ],
  [
    "mode TARGET without a target",
    security({ namespaceOptions: { pid: 3 } }),
    isInvalidArgument,
    /the target container has no process/,
  ],
  [
    "another user namespace than the pod's",
    security({
      namespaceOptions: {
        usernsOptions: {
          uids: [{ hostId: 1, containerId: 0, length: 5 }],
          gids: [{ hostId: 1, containerId: 0, length: 5 }],
        },
      },
    }),
    isInvalidArgument,
    /user namespace config for sandbox is different from container/,
  ],
  [
    "an RDT class without RDT",
    { container: { annotations: { "io.kubernetes.cri.rdt-class": "gold" } } },
    isFailedPrecondition,
    /RDT disabled, refusing to set RDT class of container "app" to "gold"/,
  ],
  [
    "a CDI device nobody describes",
    {
      container: { CDIDevices: [{ name: "vendor.test/dev=1" }] },
      settings: { cdiSpecDirs: ["/nonexistent"] },
    },
    (err) => err instanceof Error,
    /unresolvable CDI devices vendor.test\/dev=1/,
  ],
  [
    "CDI that is off",
    { container: { CDIDevices: [{ name: "vendor.test/dev=1" }] }, settings: { enableCdi: false } },
    isFailedPrecondition,
    /CDI support is explicitly disabled/,
  ],
];

for (const [name, c, check, text] of refused) {
  test(`container spec refuses: ${name}`, async () => {
    await assert.rejects(buildContainerSpec(containerInput(c)), (err: unknown) => {
      assert.ok(check(err), String(err));
      assert.match(String(err), text);
      return true;
    });
  });
}

test("container spec: a user namespace is the pod's, with its mappings", async () => {
  const usernsOptions = {
    uids: [{ hostId: 65536, containerId: 0, length: 65536 }],
    gids: [{ hostId: 131072, containerId: 0, length: 65536 }],
  };
  const context = { namespaceOptions: { usernsOptions } };
  const spec = await buildContainerSpec(
    containerInput({
      container: { linux: { securityContext: context } },
      pod: { linux: { securityContext: { namespaceOptions: { network: 2, usernsOptions } } } },
    }),
  );
  assert.equal(namespaces(spec)["user"], "/proc/42/ns/user");
  assert.deepEqual(spec.linux?.uidMappings, [{ containerID: 0, hostID: 65536, size: 65536 }]);
  assert.deepEqual(spec.linux?.gidMappings, [{ containerID: 0, hostID: 131072, size: 65536 }]);
  // on the node's network sysfs is bound
  assert.deepEqual(
    mountAt(spec, "/sys")?.map((m) => m.type),
    ["bind"],
  );
});

test("container spec: pinned namespaces are used instead of the process's", async () => {
  const input = containerInput({});
  const pod = { ...input.pod, namespacePaths: { network: "/run/ns/net", ipc: "/run/ns/ipc" } };
  const spec = await buildContainerSpec({ ...input, pod });
  assert.equal(namespaces(spec)["network"], "/run/ns/net");
  assert.equal(namespaces(spec)["ipc"], "/run/ns/ipc");
  assert.equal(namespaces(spec)["uts"], "/proc/42/ns/uts");
});

test("container spec: mode TARGET joins the target's PID namespace", async () => {
  const input = containerInput(security({ namespaceOptions: { pid: 3 } }));
  const spec = await buildContainerSpec({ ...input, targetPid: 77 });
  assert.equal(namespaces(spec)["pid"], "/proc/77/ns/pid");
  assert.equal(namespaces(spec)["network"], "/proc/42/ns/net");
});

test("container spec: specs share nothing (S21)", async () => {
  const baseRuntimeSpec = (await buildContainerSpec(containerInput({}))) satisfies Spec;
  const inputs = Array.from({ length: 50 }, (_, i) =>
    containerInput({
      container: { envs: [{ key: `ONLY_${i}`, value: bytes("1") }] },
      handler: { baseRuntimeSpec },
    }),
  );
  const specs = await Promise.all(inputs.map((input) => buildContainerSpec(input)));
  for (const [i, spec] of specs.entries())
    assert.deepEqual(
      spec.process?.env?.filter((e) => e.startsWith("ONLY_")),
      [`ONLY_${i}=1`],
    );
});
