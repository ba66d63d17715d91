import assert from "node:assert/strict";
import { test } from "node:test";
import { type SpecCase, sandboxInput } from "../../../test/fakes/cri-spec.ts";
import { isInvalidArgument } from "../../core/errors.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { buildSandboxSpec } from "./sandbox.ts";

const types = (spec: Spec): string[] => (spec.linux?.namespaces ?? []).map((n) => n.type).sort();
const options = (
  namespaceOptions: NonNullable<
    NonNullable<NonNullable<NonNullable<SpecCase["pod"]>["linux"]>["securityContext"]>["namespaceOptions"]
  >,
): SpecCase => ({ pod: { linux: { securityContext: { namespaceOptions } } } });
const mapping = [{ hostId: 65536, containerId: 0, length: 65536 }];

const rows: readonly (readonly [name: string, c: SpecCase, look: (spec: Spec) => unknown, want: unknown])[] =
  [
    ["command of the image", { image: { cmd: ["x"] } }, (s) => s.process?.args, ["/pause", "x"]],
    ["root is read-only", {}, (s) => s.root, { path: "rootfs", readonly: true }],
    ["hostname", {}, (s) => s.hostname, "host-of-pod"],
    ["user of the image", { image: { user: "65535:65535" } }, (s) => s.process?.user.uid, 65535],
    [
      "user of the request",
      { pod: { linux: { securityContext: { runAsUser: { value: 5n }, supplementalGroups: [9n] } } } },
      (s) => s.process?.user,
      { uid: 5, gid: 0, additionalGids: [0, 9] },
    ],
    ["namespaces", {}, types, ["ipc", "mount", "network", "pid", "uts"]],
    [
      "network namespace",
      {},
      (s) => s.linux?.namespaces?.find((n) => n.type === "network")?.path,
      "/run/netns/p1",
    ],
    [
      "host network",
      options({ network: 2 }),
      (s) => [types(s), s.hostname],
      [["ipc", "mount", "pid"], undefined],
    ],
    ["host pid and ipc", options({ pid: 2, ipc: 2 }), types, ["mount", "network", "uts"]],
    [
      "a user namespace",
      options({ usernsOptions: { uids: mapping, gids: mapping } }),
      types,
      ["ipc", "mount", "network", "pid", "user", "uts"],
    ],
    [
      "shm and resolv.conf",
      {},
      (s) => s.mounts?.slice(-2).map((m) => [m.source, m.destination, m.options?.includes("ro")]),
      [
        ["/nonexistent/p1/shm", "/dev/shm", true],
        ["/nonexistent/p1/resolv.conf", "/etc/resolv.conf", true],
      ],
    ],
    ["host shm", options({ ipc: 2 }), (s) => s.mounts?.at(-2)?.source, "/dev/shm"],
    [
      "/sys on the host's network in a user namespace",
      options({ network: 2, usernsOptions: { uids: mapping, gids: mapping } }),
      (s) => s.mounts?.find((m) => m.destination === "/sys")?.type,
      "bind",
    ],
    [
      "parameters for low ports and ping",
      {},
      (s) => s.linux?.sysctl,
      { "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647" },
    ],
    [
      "those of the request win",
      {
        pod: {
          linux: { sysctls: { "net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1" } },
        },
      },
      (s) => [
        s.linux?.sysctl?.["net.ipv4.ip_unprivileged_port_start"],
        s.linux?.sysctl?.["kernel.shm_rmid_forced"],
      ],
      ["80", "1"],
    ],
    ["none on the host's network", options({ network: 2 }), (s) => s.linux?.sysctl, {}],
    [
      "none when switched off",
      { settings: { enableUnprivilegedIcmp: false, enableUnprivilegedPorts: false } },
      (s) => s.linux?.sysctl,
      {},
    ],
    ["hardly any CPU", {}, (s) => s.linux?.resources?.cpu, { shares: 2 }],
    ["goes last when memory is short", {}, (s) => s.process?.oomScoreAdj, -998],
    [
      "not below what the kernel allows",
      { host: { canLowerOomScore: false, oomScoreAdj: 0 } },
      (s) => s.process?.oomScoreAdj,
      0,
    ],
    [
      "seccomp",
      { pod: { linux: { securityContext: { seccomp: { profileType: 0 } } } } },
      (s) => s.linux?.seccomp?.defaultAction,
      "SCMP_ACT_ERRNO",
    ],
    [
      "cgroup",
      { pod: { linux: { cgroupParent: "/kubepods.slice/kubepods-x.slice" } } },
      (s) => s.linux?.cgroupsPath,
      "kubepods-x.slice:cri-containerd:p1",
    ],
    [
      "annotations",
      {
        pod: {
          logDirectory: "/logs",
          annotations: { "a.b": "1", "io.kubernetes.cri.sandbox-id": "other" },
          linux: { resources: { cpuPeriod: 5n, memoryLimitInBytes: 6n } },
        },
        handler: { podAnnotations: ["*"] },
      },
      (s) => s.annotations,
      {
        "a.b": "1",
        "io.kubernetes.cri.sandbox-cpu-period": "5",
        "io.kubernetes.cri.sandbox-cpu-quota": "0",
        "io.kubernetes.cri.sandbox-cpu-shares": "0",
        "io.kubernetes.cri.sandbox-memory": "6",
        "io.kubernetes.cri.sandbox-id": "p1",
        "io.kubernetes.cri.sandbox-namespace": "ns",
        "io.kubernetes.cri.sandbox-uid": "uid-1",
        "io.kubernetes.cri.sandbox-name": "pod",
        "io.kubernetes.cri.sandbox-log-directory": "/logs",
        "io.kubernetes.cri.podsandbox.image-name": "registry.test/pause:1",
        "io.kubernetes.cri.container-type": "sandbox",
      },
    ],
  ];

for (const [name, c, look, want] of rows) {
  test(`sandbox spec: ${name}`, async () => {
    assert.deepEqual(look(await buildSandboxSpec(sandboxInput(c))), want);
  });
}

const refused: readonly (readonly [name: string, c: SpecCase, text: RegExp])[] = [
  ["an image without command", { image: { entrypoint: [] } }, /invalid empty entrypoint and cmd/],
  ["mode NODE with mappings", options({ usernsOptions: { mode: 2, uids: mapping } }), /cannot have mappings/],
  ["mode POD without mappings", options({ usernsOptions: {} }), /needs UID and GID mappings/],
  [
    "two lines of mappings",
    options({ usernsOptions: { uids: [...mapping, ...mapping], gids: mapping } }),
    /only one mapping line supported/,
  ],
  [
    "an empty mapping",
    options({ usernsOptions: { uids: [{ hostId: 0, containerId: 0, length: 0 }], gids: mapping } }),
    /invalid mapping length 0/,
  ],
];

for (const [name, c, text] of refused) {
  test(`sandbox spec refuses: ${name}`, async () => {
    await assert.rejects(buildSandboxSpec(sandboxInput(c)), (err: unknown) => {
      assert.ok(isInvalidArgument(err));
      assert.match(String(err), text);
      return true;
    });
  });
}
