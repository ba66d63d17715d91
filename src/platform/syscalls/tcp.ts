import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "./errors.ts";
import { close } from "./files.ts";

const cSocket = libc("socket", ["i32", "i32", "i32"]);
const cConnect = libc("connect", ["i32", "buf", "u32"]);
const cShutdown = libc("shutdown", ["i32", "i32"]);

const SOCK_STREAM_CLOEXEC = 0o2000001;
const AF_INET = 2;
const AF_INET6 = 10;
const SHUT_WR = 1;

/** A TCP connection to the loopback address of a family. Blocks: only in a helper process. */
export function connectLoopback(family: 4 | 6, port: number): number {
  const address = alloc(28);
  const fields = view(address);
  fields.setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  fields.setUint16(2, port, false);
  if (family === 4) address.set([127, 0, 0, 1], 4);
  else address[23] = 1;
  const where = `${family === 4 ? "127.0.0.1" : "[::1]"}:${port}`;
  const fd = check("socket", cSocket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM_CLOEXEC, 0), where);
  try {
    check("connect", cConnect(fd, address, family === 4 ? 16 : 28), where);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** shutdown(2): the other side reads our end; we may still read. A connection that is gone already is fine. */
export function shutdownWrite(fd: number): void {
  cShutdown(fd, SHUT_WR);
}
