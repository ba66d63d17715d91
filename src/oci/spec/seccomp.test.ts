import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_CAPABILITIES, defaultSpec } from "./default.ts";
import { defaultSeccomp, withDefaultSeccomp } from "./seccomp.ts";
import type { Seccomp } from "./types.ts";

/** What the filter answers: rules of a call are joined by OR, the default applies when none matches. */
function verdict(profile: Seccomp, name: string, first = 0): string {
  for (const rule of profile.syscalls ?? []) {
    if (!rule.names.includes(name)) continue;
    const hit = (rule.args ?? []).every(({ op, value, valueTwo }) => {
      const want = Number(value);
      if (op === "SCMP_CMP_LT") return first < want;
      if (op === "SCMP_CMP_GT") return first > want;
      if (op === "SCMP_CMP_EQ") return first === want;
      return (first & want) === Number(valueTwo);
    });
    if (hit) return rule.errnoRet === undefined ? rule.action : `${rule.action} ${rule.errnoRet}`;
  }
  return `${profile.defaultAction} ${profile.defaultErrnoRet}`;
}

const normal = defaultSeccomp(DEFAULT_CAPABILITIES, "x64");

test("AF_ALG and AF_VSOCK are refused, their neighbours are not (S44)", () => {
  for (const family of [38, 40]) assert.equal(verdict(normal, "socket", family), "SCMP_ACT_ERRNO 1");
  for (const family of [1, 2, 10, 16, 17, 37, 39, 41, 44])
    assert.equal(verdict(normal, "socket", family), "SCMP_ACT_ALLOW");
});

test("calls follow capabilities", () => {
  for (const name of ["mount", "bpf", "unshare", "reboot", "init_module", "open_by_handle_at", "syslog"])
    assert.equal(verdict(normal, name), "SCMP_ACT_ERRNO 1", name);
  assert.equal(verdict(normal, "chroot"), "SCMP_ACT_ALLOW");
  const admin = defaultSeccomp(["CAP_SYS_ADMIN"], "x64");
  for (const name of ["mount", "unshare", "clone3"])
    assert.equal(verdict(admin, name), "SCMP_ACT_ALLOW", name);
  assert.equal(verdict(admin, "chroot"), "SCMP_ACT_ERRNO 1");
  assert.equal(verdict(admin, "clone", 0x10000000), "SCMP_ACT_ALLOW");
});

test("threads yes, namespaces no; clone3 looks absent", () => {
  assert.equal(verdict(normal, "clone", 0x3d0f00), "SCMP_ACT_ALLOW");
  for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
    assert.equal(verdict(normal, "clone", flag), "SCMP_ACT_ERRNO 1");
  assert.equal(verdict(normal, "clone3"), "SCMP_ACT_ERRNO 38");
});

test("never allowed: io_uring, key rings, kexec, userfaultfd", () => {
  const all = defaultSeccomp(["CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_PTRACE"], "x64");
  for (const name of ["io_uring_setup", "add_key", "keyctl", "request_key", "kexec_load", "userfaultfd"])
    assert.equal(verdict(all, name), "SCMP_ACT_ERRNO 1", name);
  assert.equal(verdict(normal, "personality", 0x8), "SCMP_ACT_ALLOW");
  assert.equal(verdict(normal, "personality", 0x4), "SCMP_ACT_ERRNO 1");
});

test("machines have their own calls and names", () => {
  assert.deepEqual(normal.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  assert.equal(verdict(normal, "arch_prctl"), "SCMP_ACT_ALLOW");
  const arm = defaultSeccomp([], "arm64");
  assert.equal(verdict(arm, "arch_prctl"), "SCMP_ACT_ERRNO 1");
  assert.equal(verdict(arm, "sync_file_range2"), "SCMP_ACT_ALLOW");
});

test("a spec gets the profile for its bounding set", () => {
  const spec = defaultSpec("ns", "id");
  withDefaultSeccomp(spec, "x64");
  assert.deepEqual(spec.linux?.seccomp, normal);
});
