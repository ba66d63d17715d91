/**
 * The error classes every layer throws. Each carries a literal `code` that names containerd's error class, so code
 * asks `isNotFound(err)` and never compares texts. `rpc/status.ts` maps them to gRPC and ttrpc codes and back.
 *
 * Messages are lower case: action, quoted subject, colon, reason. The class suffix that containerd's clients match
 * ("...: not found") is added by {@link GantryError.wireMessage}.
 */

/** Name of an error class; one per class of containerd's errdefs plus the two context errors. */
export type ErrorCode =
  | "invalid-argument"
  | "not-found"
  | "already-exists"
  | "permission-denied"
  | "resource-exhausted"
  | "failed-precondition"
  | "conflict"
  | "not-modified"
  | "aborted"
  | "out-of-range"
  | "not-implemented"
  | "internal"
  | "unavailable"
  | "data-loss"
  | "unauthenticated"
  | "deadline-exceeded"
  | "canceled"
  | "unknown";

/** The text containerd's own errors end with; clients of the 1.x line match some of these. */
const SUFFIX: Record<ErrorCode, string> = {
  "invalid-argument": "invalid argument",
  "not-found": "not found",
  "already-exists": "already exists",
  "permission-denied": "permission denied",
  "resource-exhausted": "resource exhausted",
  "failed-precondition": "failed precondition",
  conflict: "conflict",
  "not-modified": "not modified",
  aborted: "aborted",
  "out-of-range": "out of range",
  "not-implemented": "not implemented",
  internal: "internal error",
  unavailable: "unavailable",
  "data-loss": "data loss",
  unauthenticated: "unauthenticated",
  "deadline-exceeded": "context deadline exceeded",
  canceled: "context canceled",
  unknown: "unknown",
};

/** True for the name of an error class. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === "string" && Object.hasOwn(SUFFIX, text);
}

/** Extra facts for an error. */
export interface ErrorOptions2 {
  /** What led to this error. */
  cause?: unknown;
  /** What the user can do next; shown by our clients on a line of its own, sent as a status detail. */
  hint?: string;
}

/** Base of all typed errors. */
export class GantryError extends Error {
  /** The error class. */
  readonly code: ErrorCode;
  /** What the user can do next. */
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions2 = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "GantryError";
    this.code = code;
    this.hint = options.hint;
  }

  /** The message with containerd's class suffix, added once: `image "x": not found`. */
  get wireMessage(): string {
    const suffix = SUFFIX[this.code];
    if (this.code === "unknown" || this.message.endsWith(suffix)) return this.message;
    return this.message === "" ? suffix : `${this.message}: ${suffix}`;
  }
}

type Make = (message: string, options?: ErrorOptions2) => GantryError;
const make =
  (code: ErrorCode): Make =>
  (message, options) =>
    new GantryError(code, message, options);

/** The request is malformed whatever the state. */
export const invalidArgument = make("invalid-argument");
/** The named thing does not exist. */
export const notFound = make("not-found");
/** The named thing exists already. */
export const alreadyExists = make("already-exists");
/** The caller may not do this. */
export const permissionDenied = make("permission-denied");
/** A limit was reached. */
export const resourceExhausted = make("resource-exhausted");
/** The file system, or the quota on it, is full. `action` may say so already (a helper's words). */
export function diskFull(action: string, code: "ENOSPC" | "EDQUOT", cause?: unknown): GantryError {
  const what = code === "ENOSPC" ? "no space left on device" : "disk quota exceeded";
  return resourceExhausted(/no space left/i.test(action) ? action : `${action}: ${what}`, {
    cause,
    hint: "free space on the file system of the root folder: delete images (ctr images rm) or files of others",
  });
}
/** The state does not allow this now. */
export const failedPrecondition = make("failed-precondition");
/** Another operation holds the thing. */
export const conflict = make("conflict");
/** Nothing to do. */
export const notModified = make("not-modified");
/** Lost a race; retry at a higher level. */
export const aborted = make("aborted");
/** An offset or size is beyond what exists. */
export const outOfRange = make("out-of-range");
/** This engine does not offer it. */
export const notImplemented = make("not-implemented");
/** An invariant broke: our fault. */
export const internal = make("internal");
/** Try again later; also: the thing is locked by another writer. */
export const unavailable = make("unavailable");
/** Stored data is damaged. */
export const dataLoss = make("data-loss");
/** Credentials are missing or wrong. */
export const unauthenticated = make("unauthenticated");
/** The deadline passed. */
export const deadlineExceeded = make("deadline-exceeded");
/** The caller gave up. */
export const canceled = make("canceled");
/** Anything else. */
export const unknownError = make("unknown");

/** The class of any thrown value; `unknown` for what is not ours. */
export function codeOf(err: unknown): ErrorCode {
  if (err instanceof GantryError) return err.code;
  if (err instanceof Error && err.name === "AbortError") return "canceled";
  if (err instanceof Error && err.name === "TimeoutError") return "deadline-exceeded";
  return "unknown";
}

const is =
  (code: ErrorCode) =>
  (err: unknown): boolean =>
    codeOf(err) === code;

export const isInvalidArgument = is("invalid-argument");
export const isNotFound = is("not-found");
export const isAlreadyExists = is("already-exists");
export const isFailedPrecondition = is("failed-precondition");
export const isUnavailable = is("unavailable");
export const isNotImplemented = is("not-implemented");
export const isCanceled = is("canceled");
export const isDeadlineExceeded = is("deadline-exceeded");
export const isOutOfRange = is("out-of-range");
export const isUnauthenticated = is("unauthenticated");

/**
 * Adds context in front of an error's message and keeps its class, hint and cause: `wrap(err, 'create task "x"')`.
 * Values that are not ours become `unknown`.
 */
export function wrap(err: unknown, context: string): GantryError {
  const hint = err instanceof GantryError ? err.hint : undefined;
  return new GantryError(
    codeOf(err),
    `${context}: ${messageOf(err)}`,
    hint === undefined ? { cause: err } : { cause: err, hint },
  );
}

/** The text of any thrown value. */
export function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
