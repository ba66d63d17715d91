/** Crash points (reliability F2): the daemon is killed at one system call with an effect after the other, and started again. */
import { alive } from "../integration/tasks.ts";
import {
  type Attempt,
  type FaultKind,
  faultsAtCalls,
  type PointOptions,
  type PointResult,
} from "./syscall-points.ts";
import { trace } from "./tracer.ts";

/** System calls that change something outside the process: between two of them a crash is the same crash. */
const EFFECTS = [
  "write,pwrite64,writev,pwritev,sendto,sendmsg,sendfile,copy_file_range,splice",
  "openat,close,ftruncate,fallocate,fsync,fdatasync,syncfs",
  "mkdir,mkdirat,rmdir,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mknod,mknodat",
  "chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,setxattr,fsetxattr,lsetxattr,utimensat",
  "mount,umount2,move_mount,open_tree,mount_setattr,fsconfig,fsmount",
  "clone,clone3,fork,vfork,kill,pidfd_send_signal,bind,connect,listen,accept4,shutdown",
].join(",");

/** Runs it. @throws only when the daemon does not come back, or strace cannot trace */
export function syscallKills(options: PointOptions): Promise<PointResult> {
  const kind: FaultKind = { calls: EFFECTS, make: (attempt) => kill(attempt, options.log) };
  return faultsAtCalls(options, kind);
}

async function kill(
  { bed, operation, victim, at }: Attempt,
  log: (line: string) => void,
): Promise<string | undefined> {
  const { engine } = bed;
  const { pid } = engine;
  const tracer = await trace(pid, EFFECTS, { at, what: "signal=KILL" });
  // the tracer ends with the daemon
  const ended = operation(bed, victim);
  await Promise.race([tracer.over, ended]);
  await tracer.stop();
  // clients of a daemon that was killed end by themselves
  await ended;
  if (alive(pid)) return undefined;
  await engine.end("SIGKILL");
  const ms = await engine.start();
  log(`ready after ${ms.toFixed(0)} ms`);
  return tracer.lines.at(-1) ?? at.name;
}
