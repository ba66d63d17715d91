/**
 * A typed blob as containerd passes it (`google.protobuf.Any`): core stores and forwards it without looking inside.
 * `typeUrl` is kept byte for byte as the client sent it.
 */
export interface AnyValue {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** Labels of a stored object. Maps, not records: keys such as `__proto__` are data. */
export type Labels = ReadonlyMap<string, string>;

/** Nanoseconds since the Unix epoch, exact. */
export type TimeNs = bigint;
