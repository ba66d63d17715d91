import { openBunFfi } from "./bun.ts";
import { openDenoFfi } from "./deno.ts";

/** Argument types of a C call. `buf` is a byte array (or null) passed by address for the length of the call. */
export type FfiArg = "i32" | "u32" | "i64" | "buf";
export type FfiResult = "i32" | "i64";
export type FfiValue = number | bigint | Uint8Array | null;
export type FfiFunction = (...values: FfiValue[]) => number;

/** What both runtimes give us of the C library. Calls block the calling thread. */
export interface FfiPort {
  /** Binds one libc function. */
  bind(name: string, args: readonly FfiArg[], result: FfiResult): FfiFunction;
  /** errno of this thread; only meaningful right after a failed call. */
  errno(): number;
  /** Address of `buffer`, for structures that hold pointers. Keep `buffer` referenced until the call is done. */
  addressOf(buffer: Uint8Array): bigint;
  /** Binds one libc function to run on another thread, where the runtime can (Deno). errno is lost. */
  bindAsync?(
    name: string,
    args: readonly FfiArg[],
    result: FfiResult,
  ): (...values: FfiValue[]) => Promise<number>;
}

let port: FfiPort | undefined;

/** The port of the runtime we run under; opened on first use. */
export function ffi(): FfiPort {
  port ??= "Bun" in globalThis ? openBunFfi() : openDenoFfi();
  return port;
}

/**
 * Binds a libc function on its first call and gives it the kernel's convention: the result, or minus errno.
 * @param restart call again after EINTR (not for close, which frees the number even then)
 */
export function libc(
  name: string,
  args: readonly FfiArg[],
  result: FfiResult = "i32",
  restart = true,
): FfiFunction {
  let bound: FfiFunction | undefined;
  return (...values) => {
    bound ??= ffi().bind(name, args, result);
    for (;;) {
      const value = bound(...values);
      if (value !== -1) return value;
      const errno = ffi().errno();
      if (errno === 4 && restart) continue;
      return -errno;
    }
  };
}
