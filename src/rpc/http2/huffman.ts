/**
 * Huffman decoding of HPACK strings (RFC 7541, appendix B). The code is canonical (symbols of one length are
 * numbered in order), so the code lengths say all. The lookup table takes 8 bits a step and is built when the first
 * coded string arrives.
 */

/** Code length of each byte value as one base-36 digit ("s" = 28 bits). Value 256, the end mark, has 30 bits. */
const LENGTHS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca" +
  "d67777777777777777777777878djde6f56565666577666567655677777fbeds" +
  "kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq";
const EOS = 256;
const EOS_BITS = 30;

/** Entries of 256 per node: > 0 leaf (symbol << 5 | bits used in this node), < 0 next node, 0 impossible. */
let table: Int32Array | undefined;

function build(): Int32Array {
  const bits = [...LENGTHS].map((c) => Number.parseInt(c, 36));
  bits.push(EOS_BITS);
  const order = bits.map((_, symbol) => symbol).sort((a, b) => at(bits, a) - at(bits, b) || a - b);
  const nodes: number[][] = [new Array<number>(256).fill(0)];
  let code = 0;
  let previous = 0;
  for (const symbol of order) {
    const length = at(bits, symbol);
    code *= 2 ** (length - previous);
    previous = length;
    insert(nodes, symbol, code, length);
    code++;
  }
  return Int32Array.from(nodes.flat());
}

function insert(nodes: number[][], symbol: number, code: number, length: number): void {
  let node = 0;
  let rest = length;
  while (rest > 8) {
    const byte = Math.floor(code / 2 ** (rest - 8)) & 0xff;
    const entries = nodes[node] ?? [];
    if (entries[byte] === 0) {
      nodes.push(new Array<number>(256).fill(0));
      entries[byte] = -(nodes.length - 1);
    }
    node = -(entries[byte] ?? 0);
    rest -= 8;
  }
  const first = (code << (8 - rest)) & 0xff;
  nodes[node]?.fill((symbol << 5) | rest, first, first + (1 << (8 - rest)));
}

const at = (list: readonly number[], i: number): number => list[i] ?? 0;

/**
 * Decodes a Huffman-coded string into `out` and returns its length, or -1 when the coding is invalid (an end mark
 * inside, padding of 8 bits or more, padding that is not all ones) or does not fit into `out`.
 */
export function huffmanDecode(data: Uint8Array, out: Uint8Array): number {
  table ??= build();
  const t = table;
  let length = 0;
  let acc = 0;
  let have = 0;
  let node = 0;
  /** Bits of the current symbol consumed in upper nodes. */
  let taken = 0;
  for (let i = 0; i < data.length; i++) {
    acc = ((acc << 8) | (data[i] as number)) & 0xffff;
    have += 8;
    while (have >= 8) {
      const entry = t[node * 256 + ((acc >> (have - 8)) & 0xff)] as number;
      if (entry > 0) {
        const symbol = entry >> 5;
        if (symbol === EOS || length === out.length) return -1;
        out[length++] = symbol;
        have -= entry & 31;
        node = 0;
        taken = 0;
      } else if (entry < 0) {
        node = -entry;
        have -= 8;
        taken += 8;
      } else return -1;
    }
  }
  while (have > 0) {
    const entry = t[node * 256 + (((acc << (8 - have)) | (0xff >> have)) & 0xff)] as number;
    const used = entry & 31;
    if (entry <= 0 || used > have) break;
    if (entry >> 5 === EOS || length === out.length) return -1;
    out[length++] = entry >> 5;
    have -= used;
    node = 0;
    taken = 0;
  }
  const ones = (1 << have) - 1;
  return taken + have < 8 && (acc & ones) === ones ? length : -1;
}
