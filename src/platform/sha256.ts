import { createHash } from "../lib/hash.ts";
import { isBun } from "./runtime.ts";

/** sha256 of something small, as hexadecimal digits. Bun's own hasher needs no module to be loaded. */
export function sha256Hex(data: string | Uint8Array): string {
  if (isBun) return new Bun.CryptoHasher("sha256").update(data).digest("hex");
  return createHash("sha256").update(data).digest("hex");
}
