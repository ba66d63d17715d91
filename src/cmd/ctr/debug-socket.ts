/** Where the daemon's debug socket is when nothing else is said. */
export const DEBUG_SOCKET = "/run/containerd/debug.sock";
