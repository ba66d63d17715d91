import { SyscallError } from "../../src/platform/syscalls/errors.ts";
import { type Kernel, kernel as realKernel } from "../../src/platform/syscalls/kernel.ts";

/** One call that the fake saw. */
export interface RecordedCall {
  readonly name: keyof Kernel;
  readonly args: readonly unknown[];
}

/** A kernel that records, and fails on request. */
export interface FakeKernel {
  /** Hand this to the code under test. */
  readonly kernel: Kernel;
  readonly calls: readonly RecordedCall[];
  /** Names called, in order. */
  names(): string[];
  /** Calls of one name. */
  of(name: keyof Kernel): RecordedCall[];
  /**
   * Makes calls of `name` fail with `code`: the first `times` ones (default 1) after `skip` that pass.
   */
  fail(name: keyof Kernel, code: string, options?: { readonly times?: number; readonly skip?: number }): void;
}

interface Failure {
  readonly name: keyof Kernel;
  readonly code: string;
  skip: number;
  times: number;
}

type AnyFunction = (...args: unknown[]) => unknown;

/**
 * Makes a fake kernel. Calls go to `behaviour`; what it does not have returns undefined. `passThrough` sends that to the real
 * kernel instead, to let real work fail at a chosen step.
 */
export function createFakeKernel(
  behaviour: Partial<Kernel> = {},
  options: { readonly passThrough?: boolean } = {},
): FakeKernel {
  const calls: RecordedCall[] = [];
  const failures: Failure[] = [];
  const kernel = new Proxy(realKernel, {
    get(target, key) {
      const name = key as keyof Kernel;
      const real = Reflect.get(target, key) as unknown;
      if (typeof real !== "function") return real;
      const base = options.passThrough === true ? (real as AnyFunction) : () => undefined;
      const implementation = (behaviour[name] as AnyFunction | undefined) ?? base;
      return (...args: unknown[]): unknown => {
        calls.push({ name, args });
        const failure = failures.find(
          (one) => one.name === name && (one.skip-- <= 0 ? one.times-- > 0 : false),
        );
        if (failure !== undefined) {
          throw SyscallError.of(
            name,
            failure.code,
            args.find((arg) => typeof arg === "string"),
          );
        }
        return implementation(...args);
      };
    },
  });
  return {
    kernel,
    calls,
    names: () => calls.map((call) => call.name),
    of: (name) => calls.filter((call) => call.name === name),
    fail(name, code, { times = 1, skip = 0 } = {}) {
      failures.push({ name, code, skip, times });
    },
  };
}
