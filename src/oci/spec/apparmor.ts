/** The text of the default AppArmor profile of containers. */

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
