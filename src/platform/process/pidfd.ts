import { isErrno } from "../syscalls/errors.ts";
import { close } from "../syscalls/files.ts";
import { pidfdOpen, pidfdSendSignal } from "../syscalls/process.ts";
import { type ProcessIdentity, readProcStat } from "./proc.ts";

/**
 * Sends a signal to that very process: the pidfd is opened first and the start time checked after, so a number that was
 * given to another process in between is never hit.
 * @returns false when the process is gone
 */
export function killIdentified(identity: ProcessIdentity, signal: number): boolean {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(identity.pid);
  } catch (error) {
    // EINVAL: not a process but a thread, so not the one that was meant.
    if (isErrno(error, "ESRCH", "EINVAL")) return false;
    throw error;
  }
  try {
    if (readProcStat(identity.pid)?.startTime !== identity.startTime) return false;
    pidfdSendSignal(pidfd, signal);
    return true;
  } catch (error) {
    if (isErrno(error, "ESRCH")) return false;
    throw error;
  } finally {
    close(pidfd);
  }
}
