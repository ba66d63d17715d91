/** Writes JSON values as YAML, in the style Kubernetes' tools use: sorted keys, two spaces, lists as deep as their key. */

/** What can be written. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A document; ends with a line feed. */
export function emitYaml(value: Json): string {
  const lines = block(value, "");
  return `${lines.join("\n")}\n`;
}

/** Lines of a value that starts at its own line. */
function block(value: Json, indent: string): string[] {
  if (isList(value) && value.length > 0) return value.flatMap((item) => listItem(item, indent));
  if (isMap(value)) {
    const keys = Object.keys(value).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    if (keys.length > 0) return keys.flatMap((key) => entry(key, value[key] ?? null, indent));
  }
  const [first = "", ...rest] = scalar(value, indent);
  return [indent + first, ...rest];
}

function listItem(item: Json, indent: string): string[] {
  if (!isNested(item)) {
    const [first = "", ...rest] = scalar(item, `${indent}  `);
    return [`${indent}- ${first}`, ...rest];
  }
  const [first = "", ...rest] = block(item, `${indent}  `);
  return [`${indent}- ${first.trimStart()}`, ...rest];
}

function entry(key: string, value: Json, indent: string): string[] {
  const name = `${indent}${inline(key)}:`;
  if (isNested(value)) return [name, ...block(value, isList(value) ? indent : `${indent}  `)];
  const [first = "", ...rest] = scalar(value, `${indent}  `);
  return [`${name} ${first}`, ...rest];
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value);
const isMap = (value: Json): value is { readonly [key: string]: Json } =>
  typeof value === "object" && value !== null && !isList(value);

function isNested(value: Json): boolean {
  return (isList(value) && value.length > 0) || (isMap(value) && Object.keys(value).length > 0);
}

/** A scalar, or an empty list or map; more lines are a literal block, indented already. */
function scalar(value: Json, indent: string): string[] {
  if (value === null) return ["null"];
  if (isList(value)) return ["[]"];
  if (isMap(value)) return ["{}"];
  if (typeof value !== "string") return [String(value)];
  if (!value.includes("\n") || !isLiteral(value)) return [inline(value)];
  const mark = value.endsWith("\n\n") ? "|+" : value.endsWith("\n") ? "|" : "|-";
  const lines = (value.endsWith("\n") ? value.slice(0, -1) : value).split("\n");
  return [mark, ...lines.map((line) => (line === "" ? "" : indent + line))];
}

/** Whether a text of several lines survives in a literal block. */
function isLiteral(text: string): boolean {
  return /^[^ \t\n]/.test(text) && !/[^\n\t -~\u00a0-\ufffd]/u.test(text) && !/ (?:\n|$)/.test(text);
}

/** Texts that would be read as something else. */
const RESOLVED =
  /^(?:~|null|true|false|yes|no|on|off|y|n|=|<<|[-+]?(?:\.inf|inf)|\.nan|[-+]?(?:0x[0-9a-f_]+|0o?[0-7_]+|0b[01_]+|[0-9][0-9_,]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?|\.[0-9_]+(?:e[-+]?[0-9]+)?)|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|\d{4}-\d\d?-\d\d?(?:[Tt\s].*)?)$/i;
const SPECIAL = /^[-?:](?:\s|$)|^[,[\]{}#&*!|>'"%@`]|: |:$| #|^\s|\s$|^(?:---|\.\.\.)/;

function inline(text: string): string {
  if (text === "") return '""';
  if (/[^ -~\u00a0-\ufffd\u{10000}-\u{10ffff}]/u.test(text)) return JSON.stringify(text);
  if (RESOLVED.test(text)) return JSON.stringify(text);
  if (SPECIAL.test(text)) return `'${text.replace(/'/g, "''")}'`;
  return text;
}
