import type { FfiArg, FfiFunction, FfiPort, FfiResult } from "./port.ts";

type Callable = (...values: unknown[]) => unknown;

/** The part of the global `Deno` in use. */
interface DenoFfi {
  dlopen(
    library: string,
    symbols: Record<string, { parameters: string[]; result: string; nonblocking?: boolean }>,
  ): { symbols: Record<string, Callable> };
  readonly UnsafePointer: { of(buffer: Uint8Array): object | null; value(pointer: object | null): bigint };
  readonly UnsafePointerView: new (pointer: object) => { getInt32(): number };
}

const TYPES: Record<FfiArg | FfiResult, string> = { i32: "i32", u32: "u32", i64: "i64", buf: "buffer" };

/** Opens libc through Deno.dlopen. */
export function openDenoFfi(): FfiPort {
  const { Deno: deno } = globalThis as unknown as { Deno: DenoFfi };
  const open = (name: string, parameters: string[], result: string, nonblocking = false): Callable => {
    const symbol = deno.dlopen("libc.so.6", { [name]: { parameters, result, nonblocking } }).symbols[name];
    if (symbol === undefined) throw new Error(`bind libc function "${name}": not found`);
    return symbol;
  };
  const errnoLocation = open("__errno_location", [], "pointer");
  const types = (args: readonly FfiArg[]): string[] => args.map((type) => TYPES[type]);
  return {
    bind(name, args, result): FfiFunction {
      const call = open(name, types(args), TYPES[result]);
      return result === "i32" ? (call as FfiFunction) : (...values) => Number(call(...values));
    },
    errno: () => new deno.UnsafePointerView(errnoLocation() as object).getInt32(),
    addressOf: (buffer) => deno.UnsafePointer.value(deno.UnsafePointer.of(buffer)),
    bindAsync(name, args, result) {
      const call = open(name, types(args), TYPES[result], true);
      return async (...values) => Number(await call(...values));
    },
  };
}
