/** Tar blocks by hand, for tests that build (also broken) archives byte by byte. */

const BLOCK = 512;
const encoder = new TextEncoder();

/** A directory header. */
export function tarDirectory(name: string): Uint8Array {
  return header(name.endsWith("/") ? name : `${name}/`, 0n, 0o755, "5");
}

/** A file header; `size` bytes of content and {@link tarPadding} follow. */
export function tarFile(name: string, size: bigint): Uint8Array {
  return header(name, size, 0o444, "0");
}

/** Zeros that fill up the last block of a file. */
export function tarPadding(size: bigint): Uint8Array {
  return new Uint8Array((BLOCK - Number(size % BigInt(BLOCK))) % BLOCK);
}

/** The end of the archive. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

/** Largest size the octal field holds; above, GNU's base-256 form is written, which every reader knows. */
const MAX_OCTAL = 0o77777777777n;

function header(name: string, size: bigint, mode: number, type: string): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, value: string): void => block.set(encoder.encode(value), at);
  const octal = (at: number, length: number, value: bigint): void =>
    put(at, `${value.toString(8).padStart(length - 1, "0")}\0`);
  if (encoder.encode(name).byteLength > 100) throw new RangeError(`tar entry name too long: ${name}`);
  put(0, name);
  octal(100, 8, BigInt(mode));
  octal(108, 8, 0n);
  octal(116, 8, 0n);
  if (size <= MAX_OCTAL) octal(124, 12, size);
  else {
    let rest = size;
    for (let i = 135; i > 124; i--) {
      block[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    block[124] = 0x80;
  }
  octal(136, 12, 0n);
  put(148, "        ");
  put(156, type);
  put(257, "ustar\u000000");
  let sum = 0;
  for (const byte of block) sum += byte;
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}
