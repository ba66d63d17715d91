/** JSON with exact 64-bit numbers and bytes: `{"$int":"123"}`, `{"$bytes":"base64"}`. For files and records of our own. */

/** Members that are undefined are left out. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => {
    if (typeof v === "bigint") return { $int: `${v}` };
    if (v instanceof Uint8Array) return { $bytes: Buffer.from(v).toString("base64") };
    return v;
  });
}

/** @throws SyntaxError */
export function fromJson(text: string): unknown {
  return JSON.parse(text, (_key, v: unknown) => {
    if (typeof v !== "object" || v === null) return v;
    if ("$int" in v && typeof v.$int === "string") return BigInt(v.$int);
    if ("$bytes" in v && typeof v.$bytes === "string") return new Uint8Array(Buffer.from(v.$bytes, "base64"));
    return v;
  }) as unknown;
}
