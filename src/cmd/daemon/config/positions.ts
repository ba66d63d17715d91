/**
 * Where each key of a TOML text stands: the parser does not tell, and a warning without a line number is no help.
 * Reads only the structure (headers, keys, multi-line strings and arrays), not the values.
 */

/** Dotted path as JSON of its parts -> 1-based line. */
export type Positions = ReadonlyMap<string, number>;

/** Key of a path in {@link Positions}. */
export function pathKey(path: readonly string[]): string {
  return JSON.stringify(path);
}

/** Finds the line of every table header and key. */
export function locateKeys(text: string): Positions {
  const out = new Map<string, number>();
  let table: string[] = [];
  let open: "none" | '"""' | "'''" = "none";
  let depth = 0;
  text.split("\n").forEach((line, index) => {
    const at = index + 1;
    if (open !== "none") {
      if (line.includes(open)) open = "none";
      return;
    }
    const trimmed = line.trim();
    if (depth === 0) {
      if (trimmed === "" || trimmed.startsWith("#")) return;
      if (trimmed.startsWith("[")) {
        const inner = trimmed.replace(/^\[+/, "").replace(/\]+\s*(#.*)?$/, "");
        table = parseKey(inner).parts;
        note(out, table, at);
        return;
      }
      const { parts, rest } = parseKey(trimmed);
      if (parts.length > 0 && rest.startsWith("=")) note(out, [...table, ...parts], at);
    }
    ({ open, depth } = scanValue(line, depth));
  });
  return out;
}

function note(out: Map<string, number>, path: readonly string[], at: number): void {
  for (let n = 1; n <= path.length; n++) {
    const key = pathKey(path.slice(0, n));
    if (!out.has(key)) out.set(key, at);
  }
}

/** Reads a dotted key with bare and quoted parts; `rest` is what follows. */
function parseKey(text: string): { parts: string[]; rest: string } {
  const parts: string[] = [];
  let rest = text.trimStart();
  for (;;) {
    const match = /^(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*/.exec(rest);
    if (match === null) return { parts, rest };
    parts.push(match[1] ?? match[2] ?? match[3] ?? "");
    rest = rest.slice(match[0].length);
    if (!rest.startsWith(".")) return { parts, rest };
    rest = rest.slice(1).trimStart();
  }
}

/** Follows brackets and multi-line strings over one line of a value. */
function scanValue(line: string, before: number): { open: "none" | '"""' | "'''"; depth: number } {
  let depth = before;
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (c === "#") break;
    if (c === '"' || c === "'") {
      const triple = c === '"' ? '"""' : "'''";
      if (line.startsWith(triple, i)) {
        const end = line.indexOf(triple, i + 3);
        if (end < 0) return { open: triple, depth };
        i = end + 2;
        continue;
      }
      i++;
      while (i < line.length && line[i] !== c) i += c === '"' && line[i] === "\\" ? 2 : 1;
    } else if (c === "[" || c === "{") depth++;
    else if (c === "]" || c === "}") depth--;
  }
  return { open: "none", depth: Math.max(0, depth) };
}
