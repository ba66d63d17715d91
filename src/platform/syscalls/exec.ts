import { ffi, libc } from "../ffi/libc.ts";
import { alloc, cstr, view } from "../ffi/memory.ts";
import { check, SyscallError } from "./errors.ts";
import { pwrite } from "./files.ts";

const cMemfd = libc("memfd_create", ["buf", "u32"]);
const cExecveat = libc("syscall", ["i64", "i64", "buf", "buf", "buf", "i64"], "i64");

const MFD_CLOEXEC = 1;
/** Kernel 6.3: says that it is meant to be run, where others are not allowed to. */
const MFD_EXEC = 0x10;
const AT_EMPTY_PATH = 0x1000;
const EINVAL = -22;
const EXECVEAT: Readonly<Record<string, number>> = { x64: 322, arm64: 281 };

/** A program in memory with this content, close-on-exec; ours to close. For {@link execFd}. */
export function memoryProgram(name: string, bytes: Uint8Array): number {
  let fd = cMemfd(cstr(name), MFD_CLOEXEC | MFD_EXEC);
  if (fd === EINVAL) fd = cMemfd(cstr(name), MFD_CLOEXEC);
  check("memfd_create", fd);
  for (let at = 0; at < bytes.length; ) at += pwrite(fd, bytes.subarray(at), at);
  return fd;
}

/**
 * execveat(2): this process becomes the program behind `fd`. Every thread ends, and every fd that is close-on-exec; children,
 * blocked and waiting signals, and the working directory stay. Does not return.
 * @throws SyscallError when it could not be done: nothing has changed then
 */
export function execFd(fd: number, argv: readonly string[], env: readonly string[]): never {
  const number = EXECVEAT[process.arch];
  if (number === undefined) throw SyscallError.of("execveat", "ENOSYS");
  const words = vector(argv);
  const variables = vector(env);
  const result = cExecveat(number, fd, cstr(""), words.pointers, variables.pointers, AT_EMPTY_PATH);
  // used after the call: the memory lives as long as it
  const count = words.strings.length + variables.strings.length;
  throw new SyscallError("execveat", -result, `fd ${fd}, ${count} words`);
}

function vector(words: readonly string[]): { pointers: Uint8Array; strings: Uint8Array[] } {
  const strings = words.map((word) => cstr(word));
  const pointers = alloc((strings.length + 1) * 8);
  const fields = view(pointers);
  strings.forEach((bytes, index) => {
    fields.setBigUint64(index * 8, ffi().addressOf(bytes), true);
  });
  return { pointers, strings };
}
