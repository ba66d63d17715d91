/** Plain tables as containerd's ctr prints them: columns separated by at least one space (tabwriter with padding 1), or structured output. */

/** Renders rows under headers. Every column is as wide as its longest cell; `pad` spaces between columns. */
export function renderTable(
  headers: readonly string[],
  rows: readonly (readonly string[])[],
  pad = 1,
): string {
  const all = [headers, ...rows];
  const widths = headers.map((_h, i) => Math.max(...all.map((row) => width(row[i] ?? ""))));
  return all
    .map(
      (row) => `${row.map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - width(cell) + pad)).join("")}\n`,
    )
    .join("");
}

/** Terminal columns of a text; good enough for ids, sizes and names. */
function width(text: string): number {
  return [...text].length;
}

/** Labels as `k=v,k=v` in key order; "-" when there are none. */
export function formatLabels(labels: ReadonlyMap<string, string>, none = "-"): string {
  if (labels.size === 0) return none;
  return [...labels]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${v}`)
    .join(",");
}

/** JSON with exact 64-bit numbers, maps as objects, bytes as base64. */
export function toJson(value: unknown, indent = 4): string {
  const plain = (v: unknown): unknown => {
    if (typeof v === "bigint")
      return v <= BigInt(Number.MAX_SAFE_INTEGER) && v >= -BigInt(Number.MAX_SAFE_INTEGER)
        ? Number(v)
        : v.toString();
    if (v instanceof Map) return Object.fromEntries([...v].map(([k, x]) => [String(k), plain(x)]));
    if (v instanceof Uint8Array) return Buffer.from(v).toString("base64");
    if (Array.isArray(v)) return v.map(plain);
    if (typeof v === "object" && v !== null)
      return Object.fromEntries(
        Object.entries(v)
          .filter(([, x]) => x !== undefined)
          .map(([k, x]) => [k, plain(x)]),
      );
    return v;
  };
  return `${JSON.stringify(plain(value), undefined, indent)}\n`;
}
