/** Tables as crictl prints them: columns at least 20 wide, three spaces apart; the last one is not filled. */

const MIN_WIDTH = 20;
const PADDING = 3;

/** @param minWidth columns of the narrowest column */
export function renderTable(rows: readonly (readonly string[])[], minWidth = MIN_WIDTH): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) =>
    Math.max(minWidth, ...rows.map((row) => (i < row.length - 1 ? [...(row[i] ?? "")].length + PADDING : 0))),
  );
  return rows
    .map((row) => {
      const cells = row.map((cell, i) =>
        i === row.length - 1 ? cell : cell + " ".repeat((widths[i] ?? 0) - [...cell].length),
      );
      return `${cells.join("")}\n`;
    })
    .join("");
}

/** Ids in tables. */
export function shortId(id: string, prefix = ""): string {
  return (id.startsWith(prefix) ? id.slice(prefix.length) : id).slice(0, 13);
}

/** Labels or annotations below a heading, in key order. */
export function pairLines(heading: string, pairs: Readonly<Record<string, string>>): string {
  const keys = Object.keys(pairs).sort();
  if (keys.length === 0) return "";
  return `${heading}:\n${keys.map((key) => `\t${key} -> ${pairs[key] ?? ""}\n`).join("")}`;
}

/** The verbose information of a status as one line. */
export function infoLine(info: Readonly<Record<string, string>>): string {
  const pairs = Object.keys(info)
    .sort()
    .map((key) => `${key}:${info[key] ?? ""}`);
  return `Info: map[${pairs.join(" ")}]\n`;
}
