/**
 * Messages that follow a descriptor about as well as a hostile client does: fields left out or twice, numbers at their limits, ids
 * of odd shape, texts that are no UTF-8, the wrong wire type, cut-off ends, `Any` in `Any`. Written as bytes, not by the protobuf
 * library: it would refuse to write most of it.
 */
import { Buffer } from "node:buffer";
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import type { Random } from "./random.ts";

/** What the messages are filled from. */
export interface Pool {
  /** Names and ids that exist, so that some calls get past the first check. */
  readonly known: readonly string[];
  /** Types of `Any`. */
  readonly types: readonly DescMessage[];
  /** Values that a field takes often, by its name. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /** Fields that are never set, by name: what would do harm to the machine. */
  readonly never?: ReadonlySet<string>;
  /** Documents for byte fields and `Any`. */
  readonly documents?: readonly string[];
  /** How often a field of a message is left out: one in so many. */
  readonly leaveOut?: number;
  /** Whether messages may also be no messages at all: wrong wire types, cut-off ends, texts that are no UTF-8. */
  readonly broken?: boolean;
}

const LONG = "x".repeat(4096);
/** Ids and names of odd shape. */
export const ODD: readonly string[] = [
  "",
  ".",
  "..",
  "/",
  "//",
  "-",
  "-rf",
  "--help",
  " ",
  "\n",
  "a b",
  "a\0b",
  "\0",
  "../x",
  "../../../../../../nowhere/x",
  "a/../../b",
  "/nowhere/else",
  "a/b/c",
  "%2e%2e%2f",
  "%s%n",
  "x.",
  ".x",
  "a..b",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "0",
  "-1",
  "0x0",
  "1e9",
  "null",
  "true",
  "[]",
  "{}",
  "{",
  '{"a":',
  "é",
  "\u202e",
  "😀",
  "sha256:",
  "sha256:x",
  `sha256:${"0".repeat(64)}`,
  `sha256:${"A".repeat(64)}`,
  `md5:${"0".repeat(32)}`,
  `sha256:../../${"0".repeat(58)}`,
  "unix:///nowhere.sock",
  "file:///nowhere/log",
  "binary:///nowhere/logger",
  "http://[::1",
  "name==x",
  'name~="(((("',
  "name~=[",
  "labels.a==b,",
  'labels."a',
  "id==",
  "!",
  "a:b:c",
  "a@b@c",
  "host:99999/a:b",
  "'; DROP TABLE containers; --",
  LONG,
  "../".repeat(400),
];
/** Bytes that are no UTF-8. */
const BROKEN = [
  Buffer.from([0xff]),
  Buffer.from([0xc3, 0x28]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([97, 0xf5, 98]),
];
const NUMBERS: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  9n,
  15n,
  64n,
  100n,
  127n,
  255n,
  256n,
  65535n,
  65536n,
  999_999_999n,
  1_000_000_000n,
  2_147_483_647n,
  2_147_483_648n,
  4_294_967_295n,
  4_294_967_296n,
  9_007_199_254_740_993n,
  9_223_372_036_854_775_807n,
  18_446_744_073_709_551_615n,
  18_446_744_073_709_551_614n,
  18_446_744_071_562_067_968n,
  0xffff_ffff_0000_0000n,
];

/** The bytes of a message. `depth` bounds how far it nests. */
export function fuzzMessage(random: Random, desc: DescMessage, pool: Pool, depth = 5): Uint8Array {
  const out: Uint8Array[] = [];
  if (desc.typeName === "google.protobuf.Any") return any(random, pool, depth);
  const leaveOut = pool.leaveOut ?? 4;
  for (const field of desc.fields) {
    if (pool.never?.has(field.name) === true) continue;
    if (random.oneIn(leaveOut)) continue;
    // recursive messages, and lists of them, must end
    const times =
      field.fieldKind === "list" || field.fieldKind === "map" ? random.below(depth > 2 ? 4 : 2) : 1;
    for (let i = 0; i < times; i++) out.push(fuzzField(random, field, pool, depth));
    if (random.oneIn(60)) out.push(fuzzField(random, field, pool, depth));
  }
  if (random.oneIn(40)) out.push(tag(1 + random.below(40), 2), delimited(random.bytes(random.below(40))));
  if (pool.broken === true && random.oneIn(80)) out.push(random.bytes(1 + random.below(20)));
  const all = Buffer.concat(out);
  return pool.broken === true && random.oneIn(80) ? all.subarray(0, random.below(all.length)) : all;
}

/** One field with its tag. */
export function fuzzField(random: Random, field: DescField, pool: Pool, depth: number): Uint8Array {
  const { number } = field;
  if (pool.broken === true && random.oneIn(150)) return wrongType(random, number);
  if (field.fieldKind === "map") {
    const value =
      field.mapKind === "message"
        ? Buffer.concat([tag(2, 2), delimited(nested(random, field.message, pool, depth))])
        : field.mapKind === "enum"
          ? Buffer.concat([tag(2, 0), varint(random.pick(NUMBERS))])
          : scalar(random, 2, field.scalar, field.name, pool);
    return Buffer.concat([
      tag(number, 2),
      delimited(Buffer.concat([scalar(random, 1, field.mapKey, field.name, pool), value])),
    ]);
  }
  if (field.message !== undefined)
    return Buffer.concat([tag(number, 2), delimited(nested(random, field.message, pool, depth))]);
  if (field.enum !== undefined)
    return Buffer.concat([
      tag(number, 0),
      varint(random.oneIn(5) ? random.pick(NUMBERS) : BigInt(random.pick(field.enum.values).number)),
    ]);
  return scalar(random, number, field.scalar ?? ScalarType.BYTES, field.name, pool);
}

function nested(random: Random, desc: DescMessage, pool: Pool, depth: number): Uint8Array {
  return depth <= 0 ? new Uint8Array(0) : fuzzMessage(random, desc, pool, depth - 1);
}

function any(random: Random, pool: Pool, depth: number): Uint8Array {
  const type = random.pick(pool.types);
  const url = random.oneIn(4)
    ? text(random, "type_url", pool)
    : Buffer.from(`${random.pick(["", "", "type.googleapis.com/"])}${type.typeName}`);
  const document =
    pool.documents !== undefined && random.oneIn(2) ? Buffer.from(random.pick(pool.documents)) : undefined;
  const value =
    document ??
    (depth <= 0 || random.oneIn(5)
      ? random.bytes(random.below(50))
      : fuzzMessage(random, type, pool, depth - 1));
  return Buffer.concat([tag(1, 2), delimited(url), tag(2, 2), delimited(value)]);
}

function scalar(random: Random, number: number, type: ScalarType, name: string, pool: Pool): Uint8Array {
  switch (type) {
    case ScalarType.STRING:
      return Buffer.concat([tag(number, 2), delimited(text(random, name, pool))]);
    case ScalarType.BYTES: {
      const { documents } = pool;
      const bytes =
        documents !== undefined && random.oneIn(2)
          ? Buffer.from(random.pick(documents))
          : random.bytes(random.below(200));
      return Buffer.concat([tag(number, 2), delimited(bytes)]);
    }
    case ScalarType.BOOL:
      return Buffer.concat([
        tag(number, 0),
        varint(random.oneIn(9) ? random.pick(NUMBERS) : BigInt(random.below(2))),
      ]);
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return Buffer.concat([tag(number, 1), random.bytes(8)]);
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return Buffer.concat([tag(number, 5), random.bytes(4)]);
    default:
      return Buffer.concat([
        tag(number, 0),
        varint(random.oneIn(2) ? BigInt(random.below(20)) : random.pick(NUMBERS)),
      ]);
  }
}

function text(random: Random, name: string, pool: Pool): Uint8Array {
  const usual = pool.fields?.[name];
  if (usual !== undefined && usual.length > 0 && !random.oneIn(5)) return Buffer.from(random.pick(usual));
  if (pool.broken === true && random.oneIn(50)) return random.pick(BROKEN);
  if (pool.known.length > 0 && random.oneIn(2)) return Buffer.from(random.pick(pool.known));
  if (random.oneIn(6)) return Buffer.from(`${random.pick(pool.known)}${random.pick(ODD)}`);
  return Buffer.from(random.pick(ODD));
}

function wrongType(random: Random, number: number): Uint8Array {
  switch (random.below(5)) {
    case 0:
      return Buffer.concat([tag(number, 0), varint(random.pick(NUMBERS))]);
    case 1:
      return Buffer.concat([tag(number, 1), random.bytes(8)]);
    case 2:
      return Buffer.concat([tag(number, 5), random.bytes(4)]);
    case 3:
      // groups, deep
      return Buffer.alloc(1 + random.below(20_000), tag(number, 3));
    default:
      // a length far beyond the end
      return Buffer.concat([tag(number, 2), varint(random.pick(NUMBERS))]);
  }
}

function tag(number: number, wire: number): Uint8Array {
  return varint(BigInt(number * 8 + wire));
}

function delimited(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([varint(BigInt(bytes.length)), bytes]);
}

function varint(value: bigint): Uint8Array {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Uint8Array.from(out);
}
