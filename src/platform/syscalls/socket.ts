import { ffi, libc } from "../ffi/libc.ts";
import { alloc, fixed, view } from "../ffi/memory.ts";
import { check, SyscallError } from "./errors.ts";

const cSocket = libc("socket", ["i32", "i32", "i32"]);
const cSocketpair = libc("socketpair", ["i32", "i32", "i32", "buf"]);
const cBind = libc("bind", ["i32", "buf", "u32"]);
const cListen = libc("listen", ["i32", "i32"]);
const cAccept4 = libc("accept4", ["i32", "buf", "buf", "i32"]);
const cConnect = libc("connect", ["i32", "buf", "u32"]);
const cSendmsg = libc("sendmsg", ["i32", "buf", "i32"], "i64");
const cRecvmsg = libc("recvmsg", ["i32", "buf", "i32"], "i64");
const cGetsockopt = libc("getsockopt", ["i32", "i32", "i32", "buf", "buf"]);

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const AF_UNIX = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SO_PEERCRED = 17;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_NOSIGNAL = 0x4000;

/** A unix socket, close-on-exec. */
export function unixSocket(type: number, nonblocking = false): number {
  return check("socket", cSocket(AF_UNIX, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0));
}

/** A connected pair of unix sockets, close-on-exec. */
export function socketpair(type: number, nonblocking = false): readonly [number, number] {
  const buffer = alloc(8);
  check(
    "socketpair",
    cSocketpair(AF_UNIX, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0, buffer),
  );
  const fields = view(buffer);
  return [fields.getInt32(0, true), fields.getInt32(4, true)];
}

/** bind(2) to a path, or to an abstract name when it starts with "@". At most 107 bytes. */
export function bindUnix(fd: number, path: string): void {
  const { buffer, length } = address(path);
  check("bind", cBind(fd, buffer, length), path);
}

/** listen(2). */
export function listen(fd: number, backlog: number): void {
  check("listen", cListen(fd, backlog));
}

/** accept4(2), or undefined when a non-blocking listener has nobody waiting. */
export function accept(fd: number, nonblocking = false): number | undefined {
  const result = cAccept4(fd, null, null, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0));
  return result === -11 ? undefined : check("accept4", result);
}

/** connect(2) to a path or an abstract name ("@..."). */
export function connectUnix(fd: number, path: string): void {
  const { buffer, length } = address(path);
  check("connect", cConnect(fd, buffer, length), path);
}

/** Sends `bytes` with `fds` attached (SCM_RIGHTS); returns the bytes sent. No SIGPIPE. */
export function sendWithFds(fd: number, bytes: Uint8Array, fds: readonly number[] = []): number {
  const controlLength = fds.length === 0 ? 0 : 16 + Math.ceil((fds.length * 4) / 8) * 8;
  const control = alloc(controlLength);
  if (fds.length > 0) {
    const fields = view(control);
    fields.setBigUint64(0, BigInt(16 + fds.length * 4), true);
    fields.setInt32(8, SOL_SOCKET, true);
    fields.setInt32(12, SCM_RIGHTS, true);
    fds.forEach((value, index) => {
      fields.setInt32(16 + index * 4, value, true);
    });
  }
  const body = fixed(bytes);
  const message = header(body, bytes.length, control, controlLength);
  const sent = cSendmsg(fd, message.header, MSG_NOSIGNAL);
  keepAlive(body, control, message.iov);
  return check("sendmsg", sent);
}

/** What {@link receiveWithFds} got. */
export interface Received {
  readonly bytes: Uint8Array;
  /** Received fds, close-on-exec, ours to close. */
  readonly fds: readonly number[];
}

/** Receives up to `size` bytes and up to `maxFds` fds; undefined when a non-blocking socket has nothing. */
export function receiveWithFds(fd: number, size = 4096, maxFds = 16): Received | undefined {
  const body = alloc(size);
  const controlLength = 16 + maxFds * 4 + (maxFds % 2) * 4;
  const control = alloc(controlLength);
  const message = header(body, size, control, controlLength);
  const length = cRecvmsg(fd, message.header, MSG_CMSG_CLOEXEC);
  keepAlive(body, control, message.iov);
  if (length === -11) return undefined;
  check("recvmsg", length);
  const fds: number[] = [];
  const fields = view(control);
  const used = Number(view(message.header).getBigUint64(40, true));
  for (let at = 0; at + 16 <= used; ) {
    const size = Number(fields.getBigUint64(at, true));
    if (size < 16) break;
    if (fields.getInt32(at + 8, true) === SOL_SOCKET && fields.getInt32(at + 12, true) === SCM_RIGHTS) {
      for (let p = at + 16; p + 4 <= at + size; p += 4) fds.push(fields.getInt32(p, true));
    }
    at += Math.ceil(size / 8) * 8;
  }
  return { bytes: body.slice(0, length), fds };
}

/** Who connected, as the kernel knows it (SO_PEERCRED). */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** getsockopt(SO_PEERCRED). */
export function peerCredentials(fd: number): PeerCredentials {
  const value = alloc(12);
  const length = alloc(4);
  view(length).setUint32(0, 12, true);
  check("getsockopt", cGetsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length));
  const fields = view(value);
  return {
    pid: fields.getInt32(0, true),
    uid: fields.getUint32(4, true),
    gid: fields.getUint32(8, true),
  };
}

function address(path: string): { buffer: Uint8Array; length: number } {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length === 0 || bytes.length > 107) throw new SyscallError("bind", 36, path);
  const buffer = alloc(110);
  view(buffer).setUint16(0, AF_UNIX, true);
  buffer.set(bytes, 2);
  if (path.startsWith("@")) {
    buffer[2] = 0;
    // An abstract name has no terminator: its length says where it ends.
    return { buffer, length: 2 + bytes.length };
  }
  return { buffer, length: 2 + bytes.length + 1 };
}

function header(
  body: Uint8Array,
  length: number,
  control: Uint8Array,
  controlLength: number,
): { header: Uint8Array; iov: Uint8Array } {
  const iov = alloc(16);
  const iovFields = view(iov);
  iovFields.setBigUint64(0, ffi().addressOf(body), true);
  iovFields.setBigUint64(8, BigInt(length), true);
  const message = alloc(56);
  const fields = view(message);
  fields.setBigUint64(16, ffi().addressOf(iov), true);
  fields.setBigUint64(24, 1n, true);
  if (controlLength > 0) {
    fields.setBigUint64(32, ffi().addressOf(control), true);
    fields.setBigUint64(40, BigInt(controlLength), true);
  }
  return { header: message, iov };
}

let kept: readonly Uint8Array[] = [];

/** A use after the call, so that no engine frees memory whose address sits only in a structure. */
function keepAlive(...buffers: Uint8Array[]): void {
  kept = buffers;
  if (kept.length === 0) throw new Error("unreachable");
}
