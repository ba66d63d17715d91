import { CLONE_NEWNET, MS_BIND } from "../syscalls/constants.ts";
import { mount } from "../syscalls/mount.ts";
import { gettid, unshare } from "../syscalls/process.ts";
import { setLoopbackUp } from "./loopback.ts";

/**
 * The child's part of `createNetns`: moves this thread to a new network namespace and pins that at `path`. Only for a process
 * that ends right after.
 */
export function pinNewNetns(path: string): void {
  unshare(CLONE_NEWNET);
  setLoopbackUp();
  // The thread's own entry: /proc/self is the main thread's, which need not be ours.
  mount(`/proc/self/task/${gettid()}/ns/net`, path, "none", MS_BIND);
}
