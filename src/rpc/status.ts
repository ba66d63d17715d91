/**
 * Error classes on the wire: one exhaustive table from {@link ErrorCode} to gRPC status code and back. Both
 * transports use it. Two classes share a code (conflict, not-modified travel as FailedPrecondition); the class suffix
 * of the message tells them apart on the way back.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { codeOf, type ErrorCode, GantryError, messageOf } from "../core/errors.ts";

/** gRPC status codes by name (grpc.io, "Status codes and their use in gRPC"). */
export const GrpcCode = {
  OK: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;

/** Number of a gRPC status code. */
export type GrpcCode = (typeof GrpcCode)[keyof typeof GrpcCode];

const TO_WIRE: Readonly<Record<ErrorCode, GrpcCode>> = {
  "invalid-argument": GrpcCode.InvalidArgument,
  "not-found": GrpcCode.NotFound,
  "already-exists": GrpcCode.AlreadyExists,
  "permission-denied": GrpcCode.PermissionDenied,
  "resource-exhausted": GrpcCode.ResourceExhausted,
  "failed-precondition": GrpcCode.FailedPrecondition,
  conflict: GrpcCode.FailedPrecondition,
  "not-modified": GrpcCode.FailedPrecondition,
  aborted: GrpcCode.Aborted,
  "out-of-range": GrpcCode.OutOfRange,
  "not-implemented": GrpcCode.Unimplemented,
  internal: GrpcCode.Internal,
  unavailable: GrpcCode.Unavailable,
  "data-loss": GrpcCode.DataLoss,
  unauthenticated: GrpcCode.Unauthenticated,
  "deadline-exceeded": GrpcCode.DeadlineExceeded,
  canceled: GrpcCode.Canceled,
  unknown: GrpcCode.Unknown,
};

const FROM_WIRE: Readonly<Record<number, ErrorCode>> = {
  [GrpcCode.Canceled]: "canceled",
  [GrpcCode.Unknown]: "unknown",
  [GrpcCode.InvalidArgument]: "invalid-argument",
  [GrpcCode.DeadlineExceeded]: "deadline-exceeded",
  [GrpcCode.NotFound]: "not-found",
  [GrpcCode.AlreadyExists]: "already-exists",
  [GrpcCode.PermissionDenied]: "permission-denied",
  [GrpcCode.ResourceExhausted]: "resource-exhausted",
  [GrpcCode.FailedPrecondition]: "failed-precondition",
  [GrpcCode.Aborted]: "aborted",
  [GrpcCode.OutOfRange]: "out-of-range",
  [GrpcCode.Unimplemented]: "not-implemented",
  [GrpcCode.Internal]: "internal",
  [GrpcCode.Unavailable]: "unavailable",
  [GrpcCode.DataLoss]: "data-loss",
  [GrpcCode.Unauthenticated]: "unauthenticated",
};

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(GrpcCode).map(([name, n]) => [n, name]));

/** Name of a code as metrics and logs show it: `NotFound`; `Code(99)` for a number outside the table. */
export function grpcCodeName(code: number): string {
  return NAMES.get(code) ?? `Code(${code})`;
}

/** One `google.protobuf.Any` of a rich status: type url and encoded message, never decoded here. */
export interface StatusDetail {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** A status as it travels. */
export interface WireStatus {
  readonly code: number;
  readonly message: string;
  readonly details: readonly StatusDetail[];
  /** What the user can do next; gRPC carries it in the `gantry-hint` trailer, ttrpc drops it. */
  readonly hint: string | undefined;
}

/** The cause of an error that came from a peer: its status with the details this side does not interpret. */
export class RemoteStatusError extends Error {
  override readonly name = "RemoteStatusError";
  readonly status: WireStatus;
  constructor(status: WireStatus) {
    super(status.message);
    this.status = status;
  }
}

/** The wire status of any thrown value. Details that came from a peer are passed on. */
export function toStatus(err: unknown): WireStatus {
  const code = TO_WIRE[codeOf(err)];
  if (!(err instanceof GantryError)) {
    return { code, message: messageOf(err), details: [], hint: undefined };
  }
  const details = err.cause instanceof RemoteStatusError ? err.cause.status.details : [];
  return { code, message: err.wireMessage, details, hint: err.hint };
}

/**
 * The typed error of a status. The text is kept as the peer wrote it (it ends with the class suffix already); a code
 * outside the table becomes `unknown` and keeps its message.
 */
export function fromStatus(
  code: number,
  message: string,
  details: readonly StatusDetail[] = [],
  hint?: string,
): GantryError {
  const cause = new RemoteStatusError({ code, message, details, hint });
  return new GantryError(
    classOf(code, message),
    message,
    hint === undefined || hint === "" ? { cause } : { cause, hint },
  );
}

function classOf(code: number, message: string): ErrorCode {
  if (code === GrpcCode.FailedPrecondition) {
    if (message.endsWith("conflict")) return "conflict";
    if (message.endsWith("not modified")) return "not-modified";
  }
  return FROM_WIRE[code] ?? "unknown";
}

/** Encodes `google.rpc.Status`. By hand: three fields, and the shim then needs no more generated code. */
export function encodeStatus(status: WireStatus): Uint8Array<ArrayBuffer> {
  const w = new BinaryWriter();
  if (status.code !== 0) w.tag(1, WireType.Varint).int32(status.code);
  if (status.message !== "") w.tag(2, WireType.LengthDelimited).string(status.message);
  for (const detail of status.details) {
    w.tag(3, WireType.LengthDelimited).fork();
    if (detail.typeUrl !== "") w.tag(1, WireType.LengthDelimited).string(detail.typeUrl);
    if (detail.value.length > 0) w.tag(2, WireType.LengthDelimited).bytes(detail.value);
    w.join();
  }
  return w.finish();
}

/**
 * Decodes `google.rpc.Status`.
 * @throws Error when the bytes are not a protobuf message
 */
export function decodeStatus(bytes: Uint8Array): WireStatus {
  const r = new BinaryReader(bytes);
  let code = 0;
  let message = "";
  const details: StatusDetail[] = [];
  while (r.pos < r.len) {
    const [field, wire] = r.tag();
    if (field === 1 && wire === WireType.Varint) code = r.int32();
    else if (field === 2 && wire === WireType.LengthDelimited) message = r.string();
    else if (field === 3 && wire === WireType.LengthDelimited) details.push(decodeAny(r.bytes()));
    else r.skip(wire, field);
  }
  return { code, message, details, hint: undefined };
}

function decodeAny(bytes: Uint8Array): StatusDetail {
  const r = new BinaryReader(bytes);
  let typeUrl = "";
  let value: Uint8Array = new Uint8Array(0);
  while (r.pos < r.len) {
    const [field, wire] = r.tag();
    if (field === 1 && wire === WireType.LengthDelimited) typeUrl = r.string();
    else if (field === 2 && wire === WireType.LengthDelimited) value = r.bytes();
    else r.skip(wire, field);
  }
  return { typeUrl, value };
}
