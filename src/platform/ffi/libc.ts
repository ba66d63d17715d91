import { openBunFfi } from "./bun.ts";
import { openDenoFfi } from "./deno.ts";
import type { FfiArg, FfiFunction, FfiPort, FfiResult } from "./port.ts";

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
