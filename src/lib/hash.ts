import type { Hash } from "node:crypto";

/** `createHash` of node:crypto, which is loaded at the first use: it brings node's streams along, 3 ms of a short command. */
export function createHash(algorithm: string): Hash {
  return process.getBuiltinModule("node:crypto").createHash(algorithm);
}

/** Random bytes for names, as hexadecimal digits. */
export function randomHex(bytes: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("hex");
}
