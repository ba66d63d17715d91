/** A valid message with one or two things wrong, somewhere inside: what gets further than a message that is wrong everywhere. */
import { Buffer } from "node:buffer";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { fuzzField, type Pool } from "./messages.ts";
import type { Random } from "./random.ts";

interface Part {
  readonly number: number;
  readonly wire: WireType;
  /** With its tag. */
  readonly raw: Uint8Array;
  /** Of a length-delimited field, without tag and length. */
  readonly inner: Uint8Array | undefined;
}

/** The bytes of `message` with a change: a field gone, twice, of another value, or one more. */
export function mutate(random: Random, desc: DescMessage, message: Uint8Array, pool: Pool): Uint8Array {
  const parts = split(message);
  const nested = parts.filter((part) => part.inner !== undefined && child(desc, part) !== undefined);
  const part = nested.length > 0 && !random.oneIn(4) ? random.pick(nested) : undefined;
  if (part?.inner !== undefined) {
    const inside = mutate(random, child(desc, part) as DescMessage, part.inner, pool);
    return join(parts.map((other) => (other === part ? delimited(part.number, inside) : other.raw)));
  }
  const known = desc.fields.filter((field) => pool.never?.has(field.name) !== true);
  if (known.length === 0) return message;
  const field: DescField = random.pick(known);
  const there = parts.filter((other) => other.number === field.number);
  if (there.length > 0 && random.oneIn(4))
    return join(parts.filter((p) => p.number !== field.number).map((p) => p.raw));
  const more = fuzzField(random, field, pool, 3);
  const kept = random.oneIn(3) ? parts : parts.filter((other) => other.number !== field.number);
  return join([...kept.map((other) => other.raw), more]);
}

function child(desc: DescMessage, part: Part): DescMessage | undefined {
  const field = desc.fields.find((one) => one.number === part.number);
  return field?.fieldKind === "map" ? undefined : field?.message;
}

function split(message: Uint8Array): Part[] {
  const reader = new BinaryReader(message);
  const out: Part[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [number, wire] = reader.tag();
    const from = reader.pos;
    let inner: Uint8Array | undefined;
    if (wire === WireType.LengthDelimited) inner = reader.bytes();
    else reader.skip(wire, number);
    if (reader.pos === from) throw new Error("split a message: no progress");
    out.push({ number, wire, raw: message.subarray(start, reader.pos), inner });
  }
  return out;
}

function delimited(number: number, bytes: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(bytes).finish();
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}
