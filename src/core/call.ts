import { canceled, deadlineExceeded, failedPrecondition, type GantryError } from "./errors.ts";
import type { Namespace } from "./ids/namespace.ts";
import { type Logger, noLog } from "./log.ts";
import type { Span } from "./tracing/span.ts";

/** What a {@link Call} is made of. */
export interface CallInit {
  namespace?: Namespace | undefined;
  /** Lease that resources created in this call attach to (`containerd-lease` header). */
  lease?: string | undefined;
  /** Absolute deadline on the monotonic clock: `performance.now()` milliseconds. */
  deadline?: number | undefined;
  signal?: AbortSignal | undefined;
  log?: Logger | undefined;
  span?: Span | undefined;
}

/**
 * Who asks, for how long, and how it is cancelled. Immutable; passed first to everything that does I/O. Never kept in
 * AsyncLocalStorage.
 */
export class Call {
  readonly namespace: Namespace | undefined;
  readonly lease: string | undefined;
  readonly deadline: number | undefined;
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** The part of a trace this call runs in; undefined unless traces are exported. */
  readonly span: Span | undefined;

  constructor(init: CallInit = {}) {
    this.namespace = init.namespace;
    this.lease = init.lease;
    this.deadline = init.deadline;
    this.signal = init.signal ?? NEVER;
    this.log = init.log ?? noLog;
    this.span = init.span;
  }

  /** A call with some parts replaced. */
  with(change: CallInit): Call {
    return new Call({ ...this.init(), ...change });
  }

  /** The same call in a namespace: the only way (besides {@link namespaced}) to get a {@link NamespacedCall}. */
  in(namespace: Namespace): NamespacedCall {
    return this.with({ namespace }) as NamespacedCall;
  }

  /**
   * This call as a namespaced one.
   * @throws failed-precondition when no namespace was given, with containerd's wording.
   */
  namespaced(): NamespacedCall {
    if (this.namespace === undefined) throw failedPrecondition("namespace is required");
    return this as NamespacedCall;
  }

  /** The same identity without its cancellation, bounded by `ms`: for cleanup only. */
  detached<T extends Call>(this: T, ms: number): T {
    return this.with({ deadline: performance.now() + ms, signal: AbortSignal.timeout(ms) }) as T;
  }

  /** The same call, ended at the latest after `ms` milliseconds. */
  within<T extends Call>(this: T, ms: number): T {
    const deadline = Math.min(this.deadline ?? Number.POSITIVE_INFINITY, performance.now() + ms);
    return this.with({ deadline, signal: AbortSignal.any([this.signal, AbortSignal.timeout(ms)]) }) as T;
  }

  /** The same call that also ends when `signal` aborts. */
  until<T extends Call>(this: T, signal: AbortSignal): T {
    return this.with({ signal: AbortSignal.any([this.signal, signal]) }) as T;
  }

  /** The same call as a part of another one's trace: for work that goes on when its caller gives up. */
  under<T extends Call>(this: T, span: Span | undefined): T {
    return span === undefined ? this : (this.with({ span }) as T);
  }

  /** Milliseconds left, or undefined when there is no deadline. Never negative. */
  get remaining(): number | undefined {
    return this.deadline === undefined ? undefined : Math.max(0, this.deadline - performance.now());
  }

  /** @throws canceled or deadline-exceeded when the call has ended. */
  check(): void {
    if (this.signal.aborted) throw abortError(this.signal);
  }

  private init(): CallInit {
    return {
      namespace: this.namespace,
      lease: this.lease,
      deadline: this.deadline,
      signal: this.signal,
      log: this.log,
      span: this.span,
    };
  }
}

/** A call that names its namespace. Whatever touches stored objects takes one, so forgetting it does not compile. */
export type NamespacedCall = Call & { readonly namespace: Namespace };

/** The error class of an aborted signal: `deadline-exceeded` when its reason is a timeout, else `canceled`. */
export function abortError(signal: AbortSignal): GantryError {
  const reason: unknown = signal.reason;
  if (
    reason instanceof Error &&
    "code" in reason &&
    typeof reason.code === "string" &&
    reason.name === "GantryError"
  )
    return reason as GantryError;
  if (reason instanceof Error && reason.name === "TimeoutError")
    return deadlineExceeded("", { cause: reason });
  return canceled("", { cause: reason });
}

const NEVER: AbortSignal = new AbortController().signal;

/** A call without identity, for the daemon's own background work. */
export const background: Call = new Call();
