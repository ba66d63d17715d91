/**
 * Failing system calls (reliability T5): one call of the daemon's main thread after the other fails. The operation fails or does not; the
 * daemon lives and answers, and can remove what is left.
 */
import { setTimeout as delay } from "node:timers/promises";
import { alive } from "../integration/tasks.ts";
import {
  type Attempt,
  type FaultKind,
  faultsAtCalls,
  type PointOptions,
  type PointResult,
} from "./syscall-points.ts";
import { trace } from "./tracer.ts";

/**
 * Calls on files and mounts. Not among them: those the runtime itself cannot do without (write on its eventfds, epoll, clone), and close,
 * which strace would keep from closing.
 */
const FALLIBLE = [
  "openat,pwrite64,ftruncate,fallocate,fsync,fdatasync,syncfs,copy_file_range",
  "mkdir,mkdirat,rmdir,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mknod,mknodat",
  "chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,setxattr,fsetxattr,lsetxattr,utimensat",
  "mount,umount2,move_mount,open_tree,mount_setattr,fsconfig,fsmount,fsopen",
].join(",");

/** An operation that takes longer hangs. Milliseconds. */
const LATE_MS = 40_000;
/** What the daemon says when it writes no metadata any more, by intent. */
const SEALED = /metadata.*restart|restart.*metadata/is;

/** Runs it. @param error name of an errno: EIO, ENOSPC, ENOMEM. @throws as {@link faultsAtCalls} */
export function syscallErrors(options: PointOptions, error: string): Promise<PointResult> {
  const kind: FaultKind = { calls: FALLIBLE, make: (attempt) => failCall(attempt, error) };
  return faultsAtCalls(options, kind);
}

async function failCall(
  { bed, operation, victim, at, fail }: Attempt,
  error: string,
): Promise<string | undefined> {
  const { ctr, engine } = bed;
  const { pid } = engine;
  const tracer = await trace(pid, FALLIBLE, { at, what: `error=${error}` });
  const late = new AbortController();
  const first = await Promise.race([
    operation(bed, victim).then(() => "ended" as const),
    delay(LATE_MS, "late" as const, { signal: late.signal }),
  ]);
  late.abort();
  await tracer.stop();
  if (first === "late") fail(`the client waits after ${LATE_MS} ms`);
  if (!alive(pid)) fail(`the daemon has ended: ${engine.log().slice(-1000)}`);
  // a disk that failed under metadata: the daemon says so and waits for somebody to look after it
  const probe = alive(pid) ? await ctr.run("leases", "create") : undefined;
  if (probe !== undefined && probe.code !== 0 && !SEALED.test(probe.err)) fail(`leases create: ${probe.err}`);
  if (first === "late" || probe?.code !== 0) {
    await engine.end("SIGKILL");
    await engine.start();
  }
  return tracer.lines.find((line) => line.includes("INJECTED"))?.replace(/\s+/g, " ");
}
