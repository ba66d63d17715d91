import { Buffer } from "node:buffer";
import { H2Code, H2ConnectionError } from "./errors.ts";
import { STATIC_TABLE } from "./hpack-static.ts";
import { huffmanDecode } from "./huffman.ts";

/** One header field. Names and values are latin1 text: one character per byte. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** What RFC 7541, 4.1 adds to the length of each entry. */
const ENTRY_OVERHEAD = 32;
/** Dynamic table size both sides start with, and the largest we allow. */
const TABLE_SIZE = 4096;

const STATIC: readonly HeaderField[] = STATIC_TABLE.map(([name, value]) => ({ name, value }));

/**
 * Decodes HPACK header blocks of one connection (RFC 7541). The dynamic table never holds more than 4096 bytes; a
 * block whose decoded fields exceed `maxListSize` is decoded to its end (the table must stay in step) but its fields
 * are dropped and `overflow` is set, so a small block that names a large entry many times costs nothing.
 */
export class HpackDecoder {
  readonly #maxListSize: number;
  /** Newest last. */
  #entries: HeaderField[] = [];
  /** Index of the oldest live entry in `#entries`. */
  #oldest = 0;
  #size = 0;
  #limit = TABLE_SIZE;
  #data: Uint8Array = EMPTY;
  #at = 0;
  /** True when the last block's list was larger than allowed. */
  overflow = false;

  /** @param maxListSize decoded bytes of one block, each field counted with 32 bytes of overhead */
  constructor(maxListSize: number) {
    this.#maxListSize = maxListSize;
  }

  /**
   * Decodes one whole block.
   * @throws H2ConnectionError COMPRESSION_ERROR
   */
  decode(block: Uint8Array): HeaderField[] {
    this.#data = block;
    this.#at = 0;
    this.overflow = false;
    const fields: HeaderField[] = [];
    let listSize = 0;
    let updatesAllowed = true;
    while (this.#at < block.length) {
      const byte = block[this.#at] as number;
      if ((byte & 0xe0) === 0x20) {
        if (!updatesAllowed) throw bad("table size update after a field");
        this.#resize(this.#integer(5));
        continue;
      }
      updatesAllowed = false;
      let field: HeaderField;
      if (byte & 0x80) field = this.#entry(this.#integer(7));
      else if (byte & 0x40) {
        field = this.#literal(6);
        this.#add(field);
      } else field = this.#literal(4);
      listSize += field.name.length + field.value.length + ENTRY_OVERHEAD;
      if (listSize > this.#maxListSize) {
        this.overflow = true;
        fields.length = 0;
      } else fields.push(field);
    }
    this.#data = EMPTY;
    return fields;
  }

  #literal(prefix: number): HeaderField {
    const index = this.#integer(prefix);
    const name = index === 0 ? this.#string() : this.#entry(index).name;
    return { name, value: this.#string() };
  }

  #entry(index: number): HeaderField {
    const field =
      index <= STATIC.length
        ? STATIC[index - 1]
        : index - STATIC.length > this.#entries.length - this.#oldest
          ? undefined
          : this.#entries[this.#entries.length - (index - STATIC.length)];
    if (field === undefined) throw bad(`index ${index} is not in the table`);
    return field;
  }

  #add(field: HeaderField): void {
    const size = field.name.length + field.value.length + ENTRY_OVERHEAD;
    this.#evict(this.#limit - size);
    if (size > this.#limit) return;
    this.#entries.push(field);
    this.#size += size;
  }

  #evict(limit: number): void {
    while (this.#size > Math.max(0, limit)) {
      const old = this.#entries[this.#oldest++];
      if (old === undefined) break;
      this.#size -= old.name.length + old.value.length + ENTRY_OVERHEAD;
    }
    if (this.#oldest > 64) {
      this.#entries = this.#entries.slice(this.#oldest);
      this.#oldest = 0;
    }
  }

  #resize(size: number): void {
    if (size > TABLE_SIZE) throw bad(`table size ${size} is over the limit ${TABLE_SIZE}`);
    this.#limit = size;
    this.#evict(size);
  }

  #integer(prefix: number): number {
    const data = this.#data;
    const max = (1 << prefix) - 1;
    let value = this.#byte() & max;
    if (value < max) return value;
    // Four more bytes are enough for everything legal here and keep the sum exact.
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= data.length) break;
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw bad("integer is cut off or too large");
  }

  #byte(): number {
    const byte = this.#data[this.#at++];
    if (byte === undefined) throw bad("block is cut off");
    return byte;
  }

  #string(): string {
    const huffman = ((this.#data[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const end = this.#at + length;
    if (end > this.#data.length) throw bad("string is cut off");
    const from = this.#at;
    this.#at = end;
    if (!huffman) return latin1(this.#data, from, end);
    // The shortest code has 5 bits.
    const room = Math.ceil((length * 8) / 5);
    const out = room <= SCRATCH.length ? SCRATCH : new Uint8Array(room);
    const n = huffmanDecode(this.#data.subarray(from, end), out);
    if (n < 0) throw bad("string has an invalid huffman code");
    return latin1(out, 0, n);
  }
}

const EMPTY = new Uint8Array(0);
const SCRATCH = new Uint8Array(1024);

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString("latin1");
}

function bad(reason: string): H2ConnectionError {
  return new H2ConnectionError(H2Code.COMPRESSION_ERROR, `decode header block: ${reason}`);
}
