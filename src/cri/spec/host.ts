/** Finds the facts of the machine that specs depend on. */
import { existsSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { allCapabilityNames } from "../../oci/spec/capabilities.ts";
import { detectCgroups } from "../../platform/cgroups/cgroups.ts";
import type { HostFacts } from "./input.ts";

const CAP_SYS_RESOURCE = 24n;

/** Looks once; nothing of it changes while the daemon runs. */
export function readHostFacts(): HostFacts {
  const status = text("/proc/self/status");
  const bits = (key: string): bigint =>
    BigInt(`0x${new RegExp(`^${key}:\\s*(\\w+)`, "m").exec(status)?.[1] ?? "0"}`);
  const cgroups = detectCgroups();
  const cgroupV2 = cgroups.mode === "v2";
  const bounding = bits("CapBnd");
  return {
    cgroupV2,
    swapController: existsSync(swapFile(cgroupV2)),
    hugetlbController: cgroupV2
      ? text(`${cgroups.v2?.target ?? ""}/cgroup.controllers`)
          .split(/\s+/)
          .includes("hugetlb")
      : cgroups.v1.has("hugetlb"),
    seccomp: /^Seccomp:/m.test(status),
    apparmor: hasAppArmor(),
    selinux: existsSync("/sys/fs/selinux/enforce"),
    inUserNamespace: text("/proc/self/uid_map").trim().split(/\s+/).join(" ") !== "0 0 4294967295",
    capabilities: allCapabilityNames().filter((_name, bit) => ((bounding >> BigInt(bit)) & 1n) === 1n),
    oomScoreAdj: Number(text("/proc/self/oom_score_adj")),
    canLowerOomScore: ((bits("CapEff") >> CAP_SYS_RESOURCE) & 1n) === 1n,
    hostname: hostname(),
  };
}

/** The file that is there when swap is accounted. The unified root has none, so our own group is asked. */
function swapFile(cgroupV2: boolean): string {
  if (!cgroupV2) return "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes";
  const own = /^0::(.*)$/m.exec(text("/proc/self/cgroup"))?.[1] ?? "/";
  return `/sys/fs/cgroup${own}/memory.swap.max`;
}

/** On in the kernel, and profiles can be loaded. */
function hasAppArmor(): boolean {
  return (
    text("/sys/module/apparmor/parameters/enabled").startsWith("Y") &&
    existsSync("/sys/kernel/security/apparmor") &&
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].some((dir) => existsSync(`${dir}/apparmor_parser`))
  );
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
