/** The default AppArmor profile of containers, and loading it. */
import { readFileSync } from "node:fs";
import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import { run } from "../../platform/process/spawn.ts";

/** Time the parser gets. Milliseconds. */
const PARSER_MS = 30_000;

/** Loads the profile unless the kernel has one of this name. @throws failed-precondition with the parser's words */
export async function loadDefaultProfile(name: string): Promise<void> {
  if (!/^[A-Za-z0-9][\w.-]*$/.test(name))
    throw invalidArgument(`apparmor profile "${name}": not a usable name`);
  if (isLoaded(name)) return;
  const done = await run("apparmor_parser", ["-K", "-r"], {
    stdin: defaultProfile(name),
    timeoutMs: PARSER_MS,
  }).catch((err: unknown) => {
    throw failedPrecondition(`load apparmor profile "${name}": cannot run apparmor_parser`, {
      cause: err,
      hint: "install the apparmor package",
    });
  });
  if (done.code !== 0)
    throw failedPrecondition(
      `load apparmor profile "${name}": ${new TextDecoder().decode(done.stderr).trim()}`,
    );
}

function isLoaded(name: string): boolean {
  try {
    const lines = readFileSync("/sys/kernel/security/apparmor/profiles", "utf8").split("\n");
    return lines.some((line) => line.startsWith(`${name} (`));
  } catch {
    return false;
  }
}

/**
 * Everything a container may do by its capabilities, but no mounts, and no writes to what of /proc and /sys changes the machine.
 * Signals and traces stay among processes of the profile; the runtime, unconfined, may signal them.
 */
export function defaultProfile(name: string): string {
  const denied = [
    "@{PROC}/* w", // files directly below /proc
    "@{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w",
    "@{PROC}/sys/[^k]** w", // only /proc/sys/k*
    "@{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w", // of kernel only shm*
    "@{PROC}/sysrq-trigger rwklx",
    "@{PROC}/kcore rwklx",
    ...["[^f]*/**", "f[^s]*/**", "fs/[^c]*/**", "fs/c[^g]*/**", "fs/cg[^r]*/**"].map((p) => `/sys/${p} wklx`),
    "/sys/firmware/** rwklx",
    "/sys/devices/virtual/powercap/** rwklx",
    "/sys/kernel/security/** rwklx",
  ];
  return [
    "#include <tunables/global>",
    "",
    `profile ${name} flags=(attach_disconnected,mediate_deleted) {`,
    "  #include <abstractions/base>",
    "  network,",
    "  capability,",
    "  file,",
    "  umount,",
    ...["unconfined", "runc", "crun"].map((peer) => `  signal (receive) peer=${peer},`),
    `  signal (send,receive) peer=${name},`,
    `  ptrace (trace,read,tracedby,readby) peer=${name},`,
    "  deny mount,",
    ...denied.map((rule) => `  deny ${rule},`),
    "}",
    "",
  ].join("\n");
}
