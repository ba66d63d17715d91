/** The default seccomp profile: an allow list that follows the capabilities of the process. */
import { CAPABILITY_CALLS, COMMON_CALLS, MACHINES, TRACING_CALLS } from "./seccomp-calls.ts";
import type { Seccomp, SeccompRule, Spec } from "./types.ts";

const ALLOW = "SCMP_ACT_ALLOW";
const ERRNO = "SCMP_ACT_ERRNO";
const EPERM = 1;
const ENOSYS = 38;

/** Socket families refused to containers: a network namespace does not contain them. */
const AF_ALG = 38;
const AF_VSOCK = 40;
/** CLONE_NEW* of namespaces, without CLONE_NEWTIME, which clone(2) does not take. */
const NEW_NAMESPACES = 0x7e020000;
/** personality(2): Linux, BSD, UNAME26, both, and "only ask". */
const PERSONALITIES: readonly number[] = [0, 0x8, 0x20000, 0x20008, 0xffffffff];

/**
 * The profile for a process with these capabilities (its bounding set). Depends on the machine, not on the kernel: all
 * supported ones are newer than Linux 4.8.
 *
 * A filter cannot look behind the pointer of the 32-bit `socketcall`, so 32-bit programs can still open the refused socket
 * families there (S44).
 * @param machine `process.arch`
 */
export function defaultSeccomp(capabilities: readonly string[], machine: string = process.arch): Seccomp {
  const allowed = new Set(Object.values(COMMON_CALLS).flat());
  for (const name of TRACING_CALLS) allowed.add(name);
  for (const capability of capabilities) {
    for (const name of CAPABILITY_CALLS[capability] ?? []) allowed.add(name);
  }
  const { architectures, calls } = MACHINES[machine] ?? { architectures: [], calls: [] };
  for (const name of calls) allowed.add(name);
  return {
    defaultAction: ERRNO,
    defaultErrnoRet: EPERM,
    ...(architectures.length === 0 ? {} : { architectures: [...architectures] }),
    syscalls: [
      { names: [...allowed].sort(), action: ALLOW },
      ...socketRules(),
      ...PERSONALITIES.map((value) => argument("personality", 0, value, "SCMP_CMP_EQ")),
      ...(allowed.has("clone") ? [] : threadRules()),
    ],
  };
}

/** Puts the default profile into a spec, for the capabilities it has by now. */
export function withDefaultSeccomp(spec: Spec, machine?: string): void {
  spec.linux ??= {};
  spec.linux.seccomp = defaultSeccomp(spec.process?.capabilities?.bounding ?? [], machine);
}

/**
 * Families below, between and above the refused ones. Rules of one call are joined by OR, so a pair of "not equal" rules
 * would let everything pass (S44).
 */
function socketRules(): SeccompRule[] {
  return [
    argument("socket", 0, AF_ALG, "SCMP_CMP_LT"),
    argument("socket", 0, AF_ALG + 1, "SCMP_CMP_EQ"),
    argument("socket", 0, AF_VSOCK, "SCMP_CMP_GT"),
  ];
}

/**
 * Threads and processes, but no namespaces. Flags of clone3 are behind a pointer: ENOSYS makes C libraries fall back to clone.
 */
function threadRules(): SeccompRule[] {
  return [
    {
      names: ["clone"],
      action: ALLOW,
      args: [{ index: 0, value: NEW_NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
    },
    { names: ["clone3"], action: ERRNO, errnoRet: ENOSYS },
  ];
}

function argument(name: string, index: number, value: number, op: string): SeccompRule {
  return { names: [name], action: ALLOW, args: [{ index, value, op }] };
}
