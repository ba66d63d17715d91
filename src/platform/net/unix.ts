import { chmodSync, chownSync, lstatSync, unlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close } from "../syscalls/files.ts";
import { connectUnix as connectSocket, SOCK_STREAM, unixSocket } from "../syscalls/socket.ts";
import { nodeNet, type StreamListener } from "./byte-stream.ts";

/** Longest path of a unix socket in bytes, the terminating zero not counted. */
export const MAX_SOCKET_PATH = 107;

/** Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn, Bun at 512. */
const BACKLOG = 4096;

/** Who may use a socket. */
export interface SocketAccess {
  /** Permission bits. Default 0o660. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Calls `listen`, which binds `path`, after removing a socket that nobody answers on. The file is never more open than asked.
 * @throws SyscallError EADDRINUSE when somebody answers there, EEXIST when the path is not a socket
 */
export async function listenUnix(
  path: string,
  listen: (backlog: number) => StreamListener | Promise<StreamListener>,
  access: SocketAccess = {},
): Promise<StreamListener> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) throw SyscallError.of("bind", "ENAMETOOLONG", path);
  await removeStaleSocket(path);
  // The file is made inside listen(): only the owner may connect until the mode is set.
  const old = process.umask(0o177);
  let made: StreamListener | Promise<StreamListener>;
  try {
    made = listen(BACKLOG);
  } finally {
    process.umask(old);
  }
  const listener = await made;
  if (access.uid !== undefined || access.gid !== undefined) {
    const owner = lstatSync(path);
    chownSync(path, access.uid ?? owner.uid, access.gid ?? owner.gid);
  }
  chmodSync(path, access.mode ?? 0o660);
  return listener;
}

/**
 * Removes a socket file that nobody listens on.
 * @throws SyscallError EADDRINUSE when somebody listens, EEXIST when it is no socket
 */
export async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) throw SyscallError.of("bind", "EEXIST", path);
  } catch (error) {
    if (isErrno(error, "ENOENT") && !(error instanceof SyscallError)) return;
    throw error;
  }
  if (listens(path)) throw SyscallError.of("bind", "EADDRINUSE", path);
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

/** True when a process listens on the unix socket, one whose queue is full too. */
export function listens(path: string): boolean {
  const fd = unixSocket(SOCK_STREAM, true);
  try {
    connectSocket(fd, path);
    return true;
  } catch (error) {
    return isErrno(error, "EAGAIN");
  } finally {
    close(fd);
  }
}

/** Options of {@link connectUnix}. */
export interface ConnectOptions {
  /** Default 10 000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Connects to a unix socket; "unix://" in front is dropped, "@name" means an abstract socket.
 * @throws the connect error (ENOENT, ECONNREFUSED), SyscallError ETIMEDOUT, or the signal's reason
 */
export function connectUnix(address: string, options: ConnectOptions = {}): Promise<Socket> {
  const plain = address.replace(/^unix:\/\//, "");
  const path = plain.startsWith("@") ? `\0${plain.slice(1)}` : plain;
  const { timeoutMs = 10_000, signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const socket = nodeNet().connect({ path });
    const finish = (error?: unknown): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.removeListener("connect", onConnect);
      socket.removeListener("error", onError);
      if (error === undefined) {
        resolve(socket);
        return;
      }
      // A late error of an abandoned socket must not end the process.
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    };
    const onConnect = (): void => finish();
    const onError = (error: Error): void => finish(error);
    const onAbort = (): void => finish(signal?.reason);
    const timer = setTimeout(() => finish(SyscallError.of("connect", "ETIMEDOUT", plain)), timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", onConnect);
    socket.once("error", onError);
  });
}
