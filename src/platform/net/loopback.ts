import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "../syscalls/errors.ts";
import { close } from "../syscalls/files.ts";

const cSocket = libc("socket", ["i32", "i32", "i32"]);
const cIoctl = libc("ioctl", ["i32", "i64", "buf"]);

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

/** Brings "lo" up in this thread's network namespace. */
export function setLoopbackUp(): void {
  const fd = check("socket", cSocket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  try {
    const request = alloc(40);
    request.set([0x6c, 0x6f]);
    check("ioctl SIOCGIFFLAGS", cIoctl(fd, SIOCGIFFLAGS, request), "lo");
    const fields = view(request);
    fields.setInt16(16, fields.getInt16(16, true) | IFF_UP, true);
    check("ioctl SIOCSIFFLAGS", cIoctl(fd, SIOCSIFFLAGS, request), "lo");
  } finally {
    close(fd);
  }
}
