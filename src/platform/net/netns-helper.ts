import { CLONE_NEWNET, MS_BIND, O_RDONLY } from "../syscalls/constants.ts";
import { open } from "../syscalls/files.ts";
import { mount } from "../syscalls/mount.ts";
import { gettid, setns, unshare } from "../syscalls/process.ts";
import { sendWithFds } from "../syscalls/socket.ts";
import { connectLoopback } from "../syscalls/tcp.ts";
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

/** The child's part of `connectInNetns`: enters the namespace, connects, and sends the socket over fd 3. */
export function sendLoopbackConnection(path: string, port: number): void {
  setns(open(path, O_RDONLY), CLONE_NEWNET);
  sendWithFds(3, Uint8Array.of(0), [connectEither(port)]);
}

function connectEither(port: number): number {
  try {
    return connectLoopback(4, port);
  } catch (ipv4) {
    try {
      return connectLoopback(6, port);
    } catch (ipv6) {
      throw new Error(`IPv4: ${words(ipv4)}; IPv6: ${words(ipv6)}`);
    }
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
