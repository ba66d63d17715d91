/**
 * The libc functions behind raw-call.ts, bound for both runtimes. Apart from the rest of ffi/ because these calls run some
 * hundred thousand times per layer and must neither allocate nor throw.
 */

/** How an argument or result is passed: 32-bit integer, unsigned 32-bit, 64-bit as number, memory. */
type Kind = "i" | "u" | "l" | "p";

/** Name to "arguments>result". */
const SIGNATURES = {
  openat: "ipiu>i",
  close: "i>i",
  read: "ipl>l",
  write: "ipl>l",
  pwrite: "ipll>l",
  lseek: "ili>l",
  ftruncate: "il>i",
  fsync: "i>i",
  syncfs: "i>i",
  copy_file_range: "ipiplu>l",
  ioctl: "ili>i",
  fchown: "iuu>i",
  fchmod: "iu>i",
  fchownat: "ipuui>i",
  fchmodat: "ipui>i",
  futimens: "ip>i",
  utimensat: "ippi>i",
  mkdirat: "ipu>i",
  mknodat: "ipul>i",
  symlinkat: "pip>i",
  linkat: "ipipi>i",
  renameat: "ipip>i",
  unlinkat: "ipi>i",
  readlinkat: "ippl>l",
  statx: "ipiup>i",
  fsetxattr: "ippli>i",
  lsetxattr: "pppli>i",
  flistxattr: "ipl>l",
  llistxattr: "ppl>l",
  fgetxattr: "ippl>l",
  lgetxattr: "pppl>l",
  getdents64: "ipl>l",
  chroot: "p>i",
  chdir: "p>i",
  fchdir: "i>i",
  umask: "u>u",
  prctl: "illll>i",
  unshare: "i>i",
  mount: "ppplp>i",
  syscall: "lippl>l",
} as const satisfies Readonly<Record<string, string>>;

type Arg = number | bigint | Uint8Array | null;
/** The functions; 64-bit results may come as bigint under Deno. */
export type Libc = Readonly<Record<keyof typeof SIGNATURES, (...args: Arg[]) => number>>;

interface BunFfi {
  dlopen(
    name: string,
    symbols: Record<string, { args: string[]; returns: string }>,
  ): { symbols: Record<string, (...args: Arg[]) => number> };
  toArrayBuffer(pointer: number, offset: number, length: number): ArrayBuffer;
}
interface DenoFfi {
  dlopen(
    name: string,
    symbols: Record<string, { parameters: string[]; result: string }>,
  ): { symbols: Record<string, (...args: Arg[]) => unknown> };
  UnsafePointerView: { getArrayBuffer(pointer: unknown, length: number): ArrayBuffer };
}

const BUN: Readonly<Record<Kind, string>> = { i: "i32", u: "u32", l: "i64_fast", p: "ptr" };
const DENO: Readonly<Record<Kind, string>> = { i: "i32", u: "u32", l: "i64", p: "buffer" };

const LIBC = "libc.so.6";

function kinds(text: string): Kind[] {
  return [...text] as Kind[];
}

/** Binds everything; `errno[0]` is the calling (main) thread's errno, valid right after a call. */
export function openLibc(): { readonly calls: Libc; readonly errno: Int32Array } {
  const entries = Object.entries(SIGNATURES).map(([name, signature]) => {
    const [args = "", returns = "i"] = signature.split(">");
    return { name, args: kinds(args), returns: returns as Kind };
  });
  const deno = (globalThis as { Deno?: DenoFfi }).Deno;
  if (deno !== undefined) {
    const symbols: Record<string, { parameters: string[]; result: string }> = {
      __errno_location: { parameters: [], result: "pointer" },
    };
    for (const e of entries)
      symbols[e.name] = { parameters: e.args.map((a) => DENO[a]), result: DENO[e.returns] };
    const library = deno.dlopen(LIBC, symbols);
    const errno = new Int32Array(
      deno.UnsafePointerView.getArrayBuffer(library.symbols["__errno_location"]?.(), 4),
    );
    return { calls: library.symbols as unknown as Libc, errno };
  }
  const bun = process.getBuiltinModule("bun:ffi" as "fs") as unknown as BunFfi;
  const symbols: Record<string, { args: string[]; returns: string }> = {
    __errno_location: { args: [], returns: "ptr" },
  };
  for (const e of entries) symbols[e.name] = { args: e.args.map((a) => BUN[a]), returns: BUN[e.returns] };
  const library = bun.dlopen(LIBC, symbols);
  const pointer = library.symbols["__errno_location"]?.() ?? 0;
  return { calls: library.symbols as Libc, errno: new Int32Array(bun.toArrayBuffer(pointer, 0, 4)) };
}
