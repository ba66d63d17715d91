import { constants } from "node:os";
import { type Path, text } from "../ffi/memory.ts";

const NAMES = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) {
  // EWOULDBLOCK and EOPNOTSUPP are second names; keep the usual ones.
  if (!NAMES.has(value) || name === "EAGAIN" || name === "ENOTSUP") NAMES.set(value, name);
}
NAMES.set(122, "EDQUOT").set(40, "ELOOP").set(116, "ESTALE").set(61, "ENODATA").set(85, "ERESTART");

const TEXTS: Readonly<Record<string, string>> = {
  EPERM: "operation not permitted",
  ENOENT: "no such file or directory",
  ESRCH: "no such process",
  EINTR: "interrupted system call",
  EIO: "input/output error",
  ENXIO: "no such device or address",
  E2BIG: "argument list too long",
  EBADF: "bad file descriptor",
  ECHILD: "no child processes",
  EAGAIN: "resource temporarily unavailable",
  ENOMEM: "cannot allocate memory",
  EACCES: "permission denied",
  EBUSY: "device or resource busy",
  EEXIST: "file exists",
  EXDEV: "invalid cross-device link",
  ENODEV: "no such device",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  EINVAL: "invalid argument",
  EMFILE: "too many open files",
  ENFILE: "too many open files in system",
  EFBIG: "file too large",
  ENOSPC: "no space left on device",
  EROFS: "read-only file system",
  EMLINK: "too many links",
  EPIPE: "broken pipe",
  ENAMETOOLONG: "file name too long",
  ENOSYS: "function not implemented",
  ENOTEMPTY: "directory not empty",
  ELOOP: "too many levels of symbolic links",
  ENODATA: "no data available",
  EOVERFLOW: "value too large for defined data type",
  ENOTSUP: "operation not supported",
  EADDRINUSE: "address already in use",
  ECONNREFUSED: "connection refused",
  EDQUOT: "disk quota exceeded",
  ESTALE: "stale file handle",
  ETIMEDOUT: "connection timed out",
};

/** Name of an errno, such as "ENOENT". Takes it as C has it, or negative as the kernel returns it. */
export function errnoName(errno: number): string {
  const positive = Math.abs(errno);
  return NAMES.get(positive) ?? `E${positive}`;
}

/** A failed kernel call. `message` reads as Go's: `openat "/x": no such file or directory`. */
export class SyscallError extends Error {
  override readonly name = "SyscallError";
  /** "ENOENT", ... as in Node's errors, so that {@link isErrno} serves both. */
  readonly code: string;
  /** Positive errno. */
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;

  constructor(syscall: string, errno: number, path?: string) {
    const code = errnoName(errno);
    const reason = TEXTS[code] ?? code;
    super(path === undefined ? `${syscall}: ${reason}` : `${syscall} ${JSON.stringify(path)}: ${reason}`);
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
    this.path = path;
  }

  /** Builds one by name, for fakes. */
  static of(syscall: string, code: string, path?: string): SyscallError {
    const errno = Object.entries(constants.errno).find(([name]) => name === code)?.[1] ?? 5;
    return new SyscallError(syscall, errno, path);
  }
}

/** True when `error` (ours or Node's) carries one of the errno names. */
export function isErrno(error: unknown, ...codes: string[]): error is Error & { code: string } {
  return (
    error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code)
  );
}

/**
 * Passes a result of the kernel's convention through.
 * @throws SyscallError when it is minus errno
 */
export function check(syscall: string, result: number, path?: Path): number {
  if (result >= 0) return result;
  throw new SyscallError(
    syscall,
    -result,
    path === undefined || typeof path === "string" ? path : text(path),
  );
}
