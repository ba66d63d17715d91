import type { FfiArg, FfiFunction, FfiPort, FfiResult } from "./port.ts";

type Callable = (...values: unknown[]) => unknown;

/** The part of the module "bun:ffi" in use; declared here so that no import of it runs under Deno. */
interface BunFfi {
  dlopen(
    library: string,
    symbols: Record<string, { args: string[]; returns: string }>,
  ): { symbols: Record<string, Callable> };
  ptr(buffer: Uint8Array): number;
  readonly read: { i32(address: number, offset: number): number };
}

// i64_fast hands out plain numbers, not BigInt, while they fit.
const TYPES: Record<FfiArg | FfiResult, string> = { i32: "i32", u32: "u32", i64: "i64_fast", buf: "ptr" };

/** Opens libc through bun:ffi. */
export function openBunFfi(): FfiPort {
  const module = process.getBuiltinModule("bun:ffi") as unknown as BunFfi;
  const open = (name: string, args: string[], returns: string): Callable => {
    const symbol = module.dlopen("libc.so.6", { [name]: { args, returns } }).symbols[name];
    if (symbol === undefined) throw new Error(`bind libc function "${name}": not found`);
    return symbol;
  };
  const errnoLocation = open("__errno_location", [], "ptr");
  return {
    bind(name, args, result): FfiFunction {
      const call = open(
        name,
        args.map((type) => TYPES[type]),
        TYPES[result],
      );
      return result === "i32" ? (call as FfiFunction) : (...values) => Number(call(...values));
    },
    errno: () => module.read.i32(errnoLocation() as number, 0),
    addressOf: (buffer) => BigInt(module.ptr(buffer)),
  };
}
