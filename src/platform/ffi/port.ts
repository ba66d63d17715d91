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
