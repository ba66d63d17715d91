/** Conversions between wire records and core's: times, labels, typed blobs. */

import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { Any, Timestamp } from "@bufbuild/protobuf/wkt";
import type { AnyValue, Labels, TimeNs } from "../../core/any.ts";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { keptLabels } from "../../core/labels.ts";
import { joinNs, splitNs } from "../../lib/time.ts";

/** Wire form of a time. */
export interface TimestampInit {
  seconds: bigint;
  nanos: number;
}

export function toTimestamp(ns: TimeNs): TimestampInit {
  return splitNs(ns);
}

/** Undefined stays undefined. */
export function toTimestampMaybe(ns: TimeNs | undefined): TimestampInit | undefined {
  return ns === undefined ? undefined : splitNs(ns);
}

/** 0n when absent. */
export function fromTimestamp(ts: Timestamp | undefined): TimeNs {
  return ts === undefined ? 0n : joinNs(ts.seconds, ts.nanos);
}

export function fromTimestampMaybe(ts: Timestamp | undefined): TimeNs | undefined {
  return ts === undefined ? undefined : joinNs(ts.seconds, ts.nanos);
}

/**
 * A time that is stored: 64 bits of nanoseconds, years 1677 to 2262, as Go's clients can say it.
 * @throws invalid-argument beyond
 */
export function fromStoredTime(ts: Timestamp | undefined, what: string): TimeNs | undefined {
  const ns = fromTimestampMaybe(ts);
  if (ns !== undefined && BigInt.asIntN(64, ns) !== ns)
    throw invalidArgument(`${what}: ${ts?.seconds} seconds are out of range`);
  return ns;
}

export function toRecord<V>(map: ReadonlyMap<string, V>): Record<string, V> {
  return Object.fromEntries(map);
}

export function fromRecord<V>(record: Readonly<Record<string, V>>): ReadonlyMap<string, V> {
  return new Map(Object.entries(record));
}

export function fromLabels(record: Readonly<Record<string, string>>): Labels {
  return keptLabels(fromRecord(record));
}

/** Wire form of a typed blob. */
export function toAny(value: AnyValue): { typeUrl: string; value: Uint8Array<ArrayBuffer> } {
  return { typeUrl: value.typeUrl, value: ownBytes(value.value) };
}

export function toAnyMaybe(
  value: AnyValue | undefined,
): { typeUrl: string; value: Uint8Array<ArrayBuffer> } | undefined {
  return value === undefined ? undefined : toAny(value);
}

export function fromAny(any: Any): AnyValue {
  return { typeUrl: any.typeUrl, value: any.value };
}

export function fromAnyMaybe(any: Any | undefined): AnyValue | undefined {
  return any === undefined ? undefined : fromAny(any);
}

/**
 * The message that a client packed into a typed blob, whatever the type it named.
 * @param what the blob, for the error: `checkpoint options`
 * @throws invalid-argument when the bytes are no such message
 */
export function decodeAny<D extends DescMessage>(desc: D, value: AnyValue, what: string): MessageShape<D> {
  try {
    return fromBinary(desc, value.value);
  } catch (err) {
    throw invalidArgument(`${what}: not a message of type "${desc.typeName}": ${messageOf(err)}`, {
      cause: err,
    });
  }
}

/** Paths of a field mask; empty when absent. */
export function fieldPaths(mask: { paths: string[] } | undefined): string[] {
  return mask?.paths ?? [];
}

/** Bytes as protobuf-es types them; copies only when they lie in shared memory. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}
