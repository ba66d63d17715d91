import { text } from "../ffi/memory.ts";
import { run } from "../process/spawn.ts";
import { reExec } from "../runtime.ts";
import { close } from "../syscalls/files.ts";
import { receiveWithFds, SOCK_STREAM, socketpair } from "../syscalls/socket.ts";

/** How to connect. */
export interface NetnsConnectOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds; default 30 s. */
  readonly timeoutMs?: number;
}

/**
 * A TCP connection to a port of the loopback inside the network namespace at `path`: 127.0.0.1, then [::1]. A helper process
 * enters the namespace, connects, and hands the socket over.
 * @returns the fd, blocking, close-on-exec, the caller's to close
 * @throws Error with both reasons; RunTimeoutError; the signal's reason
 */
export async function connectInNetns(
  path: string,
  port: number,
  options: NetnsConnectOptions = {},
): Promise<number> {
  const [ours, theirs] = socketpair(SOCK_STREAM, true);
  try {
    const self = reExec(["helper", "netns-connect", path, `${port}`]);
    const result = await run(self.command, self.args, {
      ...(self.argv0 === undefined ? {} : { argv0: self.argv0 }),
      extraFds: [theirs],
      timeoutMs: options.timeoutMs ?? 30_000,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const fd = result.code === 0 ? receiveWithFds(ours, 16, 1)?.fds[0] : undefined;
    if (fd !== undefined) return fd;
    const why = text(result.stderr).trim() || `helper exit ${result.code}`;
    throw new Error(`connect to localhost:${port} inside namespace "${path}": ${why}`);
  } finally {
    close(ours);
    close(theirs);
  }
}
