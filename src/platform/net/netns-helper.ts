import { CLONE_NEWNET, MS_BIND, O_RDONLY } from "../syscalls/constants.ts";
import { open, read, writeAll } from "../syscalls/files.ts";
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

/**
 * The child's part of `NetnsMaker`: a namespace for each line on stdin, which is the path to pin it at; a line back for each,
 * `ok` or what went wrong. Between two it is back in its own, so that it holds none that others want to end.
 */
export function pinNetnsPerLine(): void {
  const own = open(`/proc/self/task/${gettid()}/ns/net`, O_RDONLY);
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(new ArrayBuffer(65_536));
  let text = "";
  for (;;) {
    const length = read(0, buffer);
    if (length === 0) return;
    const lines = (text + decoder.decode(buffer.subarray(0, length), { stream: true })).split("\n");
    text = lines.pop() ?? "";
    for (const path of lines) {
      let answer = "ok";
      try {
        pinNewNetns(path);
      } catch (error) {
        answer = words(error).replaceAll("\n", " ");
      }
      setns(own, CLONE_NEWNET);
      writeAll(1, new TextEncoder().encode(`${answer}\n`));
    }
  }
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
