/** Tables whose columns are separated by tabs: what containerd's ctr prints for content. */

const TAB = 8;

/** Renders rows under headers. Every column but the last is as wide as its longest cell and one, rounded up to tab stops. */
export function renderTabTable(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headers, ...rows];
  const stops = headers.map((_h, i) =>
    Math.ceil((Math.max(...all.map((row) => [...(row[i] ?? "")].length)) + 1) / TAB),
  );
  const last = headers.length - 1;
  const cell = (text: string, i: number): string =>
    i === last ? text : text + "\t".repeat((stops[i] ?? 1) - Math.floor([...text].length / TAB));
  return all.map((row) => `${row.map(cell).join("")}\n`).join("");
}
