/** Headers of tar archives (ustar) for plain files and folders with short names: enough for archives of our own making. */

/** Size of a tar block, bytes. */
const BLOCK = 512;
/** Largest size that eleven octal digits hold; larger ones are written in base 256 (GNU's and star's way). */
const OCTAL_MAX = 8n ** 11n - 1n;

/** One entry of an archive. */
export interface UstarEntry {
  /** At most 100 bytes; a folder's ends with "/". */
  readonly name: string;
  readonly size: bigint;
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since the epoch. */
  readonly mtime: bigint;
}

/** The header block of an entry. @throws RangeError for a name that is too long */
export function ustarHeader(entry: UstarEntry): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  const name = Buffer.from(entry.name);
  if (name.length > 100) throw new RangeError(`tar entry "${entry.name}": name is longer than 100 bytes`);
  const octal = (value: bigint | number, at: number, digits: number): void => {
    block.write(`${value.toString(8).padStart(digits, "0")}\0`, at, "latin1");
  };
  name.copy(block);
  octal(entry.mode, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  if (entry.size <= OCTAL_MAX) octal(entry.size, 124, 11);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(entry.size, 128);
  }
  octal(entry.mtime, 136, 11);
  block.write("        ", 148, "latin1");
  block.write(entry.name.endsWith("/") ? "5" : "0", 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** Zeros behind the bytes of a file. */
export function ustarPadding(size: bigint): Uint8Array {
  return new Uint8Array(Number((BigInt(BLOCK) - (size % BigInt(BLOCK))) % BigInt(BLOCK)));
}

/** The end of an archive. */
export function ustarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}
