/**
 * Protobuf messages from small tables. Descriptors of generated code cost every shim 4 MB of private memory and some 40 ms
 * at start (the descriptor of descriptors is parsed first); these tables cost nothing to speak of. `wire.test.ts` holds them
 * against the generated descriptors.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** One field: its number, and how to write and read its value. */
export interface Field<T> {
  readonly no: number;
  readonly initial: () => T;
  readonly write: (w: BinaryWriter, value: T) => void;
  readonly read: (r: BinaryReader, wire: WireType, before: T) => T;
}

/** Fields by name. */
// biome-ignore lint/suspicious/noExplicitAny: fields of different value types in one record
export type Fields = Readonly<Record<string, Field<any>>>;

/** A message as its table describes it. */
export type Message<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** Fields that are left out have their initial value. */
export type MessageInit<F extends Fields> = { readonly [K in keyof F]?: Message<F>[K] | undefined };

/** A message type. */
export interface MessageType<F extends Fields> {
  readonly name: string;
  readonly fields: F;
  readonly byNumber: ReadonlyMap<number, readonly [string, Field<unknown>]>;
}

/** Declares a message type under its full name. */
export function message<const F extends Fields>(name: string, fields: F): MessageType<F> {
  const byNumber = new Map(Object.entries(fields).map(([key, field]) => [field.no, [key, field] as const]));
  return { name, fields, byNumber };
}

export function encode<F extends Fields>(
  type: MessageType<F>,
  value: MessageInit<F>,
): Uint8Array<ArrayBuffer> {
  const w = new BinaryWriter();
  write(w, type, value);
  return w.finish();
}

/** @throws Error when the bytes are not protobuf */
export function decode<F extends Fields>(type: MessageType<F>, bytes: Uint8Array): Message<F> {
  const out: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(type.fields)) out[key] = field.initial();
  const r = new BinaryReader(bytes);
  while (r.pos < r.len) {
    const [no, wire] = r.tag();
    const known = type.byNumber.get(no);
    if (known === undefined) r.skip(wire, no);
    else out[known[0]] = known[1].read(r, wire, out[known[0]]);
  }
  return out as Message<F>;
}

function write<F extends Fields>(w: BinaryWriter, type: MessageType<F>, value: MessageInit<F>): void {
  for (const [key, field] of Object.entries(type.fields)) {
    const part = value[key];
    if (part !== undefined) field.write(w, part);
  }
}

const BYTES = WireType.LengthDelimited;
const VARINT = WireType.Varint;

export const string = (no: number): Field<string> => ({
  no,
  initial: () => "",
  write: (w, v) => void (v !== "" && w.tag(no, BYTES).string(v)),
  read: (r) => r.string(),
});

export const bytes = (no: number): Field<Uint8Array> => ({
  no,
  initial: () => EMPTY,
  write: (w, v) => void (v.length > 0 && w.tag(no, BYTES).bytes(v)),
  read: (r) => r.bytes(),
});
const EMPTY = new Uint8Array(0);

export const bool = (no: number): Field<boolean> => ({
  no,
  initial: () => false,
  write: (w, v) => void (v && w.tag(no, VARINT).bool(true)),
  read: (r) => r.bool(),
});

export const uint32 = (no: number): Field<number> => ({
  no,
  initial: () => 0,
  write: (w, v) => void (v !== 0 && w.tag(no, VARINT).uint32(v)),
  read: (r) => r.uint32(),
});

/** Also enums. */
export const int32 = (no: number): Field<number> => ({
  no,
  initial: () => 0,
  write: (w, v) => void (v !== 0 && w.tag(no, VARINT).int32(v)),
  read: (r) => r.int32(),
});

export const int64 = (no: number): Field<bigint> => ({
  no,
  initial: () => 0n,
  write: (w, v) => void (v !== 0n && w.tag(no, VARINT).int64(v)),
  read: (r) => BigInt(r.int64()),
});

export const uint64 = (no: number): Field<bigint> => ({
  no,
  initial: () => 0n,
  write: (w, v) => void (v !== 0n && w.tag(no, VARINT).uint64(v)),
  read: (r) => BigInt(r.uint64()),
});

export const double = (no: number): Field<number> => ({
  no,
  initial: () => 0,
  write: (w, v) => void (v !== 0 && w.tag(no, WireType.Bit64).double(v)),
  read: (r) => r.double(),
});

/** A message inside; undefined when absent. */
export const nested = <F extends Fields>(
  no: number,
  type: MessageType<F>,
): Field<MessageInit<F> | undefined> => ({
  no,
  initial: () => undefined,
  write(w, v) {
    if (v === undefined) return;
    w.tag(no, BYTES).fork();
    write(w, type, v);
    w.join();
  },
  read: (r) => decode(type, r.bytes()) as MessageInit<F>,
});

export const messages = <F extends Fields>(
  no: number,
  type: MessageType<F>,
): Field<readonly MessageInit<F>[]> => ({
  no,
  initial: () => [],
  write(w, v) {
    for (const one of v) {
      w.tag(no, BYTES).fork();
      write(w, type, one);
      w.join();
    }
  },
  read: (r, _wire, before) => [...before, decode(type, r.bytes()) as MessageInit<F>],
});

export const strings = (no: number): Field<readonly string[]> => ({
  no,
  initial: () => [],
  write(w, v) {
    for (const one of v) w.tag(no, BYTES).string(one);
  },
  read: (r, _wire, before) => [...before, r.string()],
});

/** Repeated uint64, packed. */
export const uint64s = (no: number): Field<readonly bigint[]> => ({
  no,
  initial: () => [],
  write(w, v) {
    if (v.length === 0) return;
    w.tag(no, BYTES).fork();
    for (const one of v) w.uint64(one);
    w.join();
  },
  read(r, wire, before) {
    if (wire === VARINT) return [...before, BigInt(r.uint64())];
    const out = [...before];
    const end = r.uint32() + r.pos;
    while (r.pos < end) out.push(BigInt(r.uint64()));
    return out;
  },
});

/** `map<string, string>`. */
export const stringMap = (no: number): Field<ReadonlyMap<string, string>> => ({
  no,
  initial: () => new Map(),
  write(w, v) {
    for (const [key, value] of v)
      w.tag(no, BYTES).fork().tag(1, BYTES).string(key).tag(2, BYTES).string(value).join();
  },
  read(r, _wire, before) {
    const { key, value } = decode(MAP_ENTRY, r.bytes());
    return new Map(before).set(key, value);
  },
});
const MAP_ENTRY = message("map entry", { key: string(1), value: string(2) });
