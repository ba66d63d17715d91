import { utf8Encode } from "../../lib/bytes.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close } from "../syscalls/files.ts";
import { connectUnix, SOCK_DGRAM, sendWithFds, unixSocket } from "../syscalls/socket.ts";

/**
 * Tells systemd a state ("READY=1", "STOPPING=1", "WATCHDOG=1", lines joined by "\n") as sd_notify(3) does. By system calls,
 * as node: has no datagram unix sockets.
 * @returns false when nobody listens: no NOTIFY_SOCKET, or the socket is gone
 */
export function sdNotify(
  state: string,
  socketPath: string | undefined = process.env["NOTIFY_SOCKET"],
): boolean {
  if (socketPath === undefined || !/^[/@]/.test(socketPath)) return false;
  // Non-blocking: a stuck supervisor must not stop us.
  const fd = unixSocket(SOCK_DGRAM, true);
  try {
    connectUnix(fd, socketPath);
    sendWithFds(fd, utf8Encode(state));
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ECONNREFUSED", "EAGAIN")) return false;
    throw error;
  } finally {
    close(fd);
  }
}

/** Half of the watchdog period that systemd asks for, in milliseconds; undefined when it asks for none. */
export function watchdogIntervalMs(
  env: Readonly<Record<string, string | undefined>> = process.env,
): number | undefined {
  const usec = Number(env["WATCHDOG_USEC"]);
  const pid = env["WATCHDOG_PID"];
  if (!(usec > 0) || (pid !== undefined && Number(pid) !== process.pid)) return undefined;
  return Math.max(1, Math.floor(usec / 2000));
}
