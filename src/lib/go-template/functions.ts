/** The functions of text/template, and `json`, `lower`, `upper`, `title`, `join`, `split`. */
import { sprintf } from "./format.ts";
import { TemplateError } from "./lexer.ts";
import { compare, equal, isDict, isList, show, toJsonText, truth, typeName, type Value } from "./values.ts";

/** What a template can call. */
export type TemplateFunction = (...args: readonly Value[]) => Value;

const text = (value: Value, name: string): string => {
  if (typeof value === "string") return value;
  throw new TemplateError(
    `error calling ${name}: wrong type for value; expected string; got ${typeName(value ?? null)}`,
  );
};

const ordered =
  (name: string, test: (order: number) => boolean): TemplateFunction =>
  (...args) => {
    const [a = null, b = null] = count(name, args, 2, 2);
    return test(compare(a, b));
  };

function count(name: string, args: readonly Value[], least: number, most: number): readonly Value[] {
  if (args.length >= least && args.length <= most) return args;
  throw new TemplateError(`wrong number of args for ${name}: want ${least} got ${args.length}`);
}

/** Joins as Go's print: a space between two values of which neither is a string. */
function print(args: readonly Value[], always: boolean): string {
  let out = "";
  for (const [i, arg] of args.entries()) {
    if (i > 0 && (always || (typeof arg !== "string" && typeof args[i - 1] !== "string"))) out += " ";
    out += show(arg);
  }
  return out;
}

function index(...[from = null, ...keys]: readonly Value[]): Value {
  let value: Value = from;
  for (const key of keys) {
    if (isDict(value)) {
      const name = text(key, "index");
      // a missing key is the zero value here, unlike in a field
      value = Object.hasOwn(value, name) ? value[name] : undefined;
    } else if (isList(value) || typeof value === "string") {
      if (typeof key !== "number")
        throw new TemplateError(`error calling index: cannot index with type ${typeName(key)}`);
      if (key < 0 || key >= value.length || !Number.isInteger(key))
        throw new TemplateError(`error calling index: index out of range: ${key}`);
      value = typeof value === "string" ? value.charCodeAt(key) : (value[key] ?? null);
    } else if (value === null || value === undefined)
      throw new TemplateError("error calling index: index of untyped nil");
    else throw new TemplateError(`error calling index: can't index item of type ${typeName(value)}`);
  }
  return value;
}

function slice(...[from = null, ...bounds]: readonly Value[]): Value {
  if (typeof from !== "string" && !isList(from))
    throw new TemplateError(`error calling slice: can't slice item of type ${typeName(from)}`);
  const [start = 0, end = from.length] = bounds.map((bound) => {
    if (typeof bound !== "number" || bound < 0 || bound > from.length)
      throw new TemplateError(`error calling slice: index out of range: ${show(bound)}`);
    return bound;
  });
  if (start > end) throw new TemplateError(`error calling slice: invalid slice index: ${start} > ${end}`);
  return from.slice(start, end);
}

const HTML: Readonly<Record<string, string>> = {
  "<": "&lt;",
  ">": "&gt;",
  "&": "&amp;",
  '"': "&#34;",
  "'": "&#39;",
};

/** By name. `and` and `or` are here for their names only: they do not evaluate all their arguments. */
export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  and: (...args) => args.find((arg) => !truth(arg)) ?? args.at(-1) ?? null,
  or: (...args) => args.find(truth) ?? args.at(-1) ?? null,
  not: (...args) => !truth(count("not", args, 1, 1)[0] ?? null),
  eq: (...args) => {
    const [first = null, ...others] = count("eq", args, 2, Number.POSITIVE_INFINITY);
    return others.some((other) => equal(first, other));
  },
  ne: (...args) => {
    const [a = null, b = null] = count("ne", args, 2, 2);
    return !equal(a, b);
  },
  lt: ordered("lt", (order) => order < 0),
  le: ordered("le", (order) => order <= 0),
  gt: ordered("gt", (order) => order > 0),
  ge: ordered("ge", (order) => order >= 0),
  index,
  slice,
  len: (...args) => {
    const [value = null] = count("len", args, 1, 1);
    if (typeof value === "string") return new TextEncoder().encode(value).length;
    if (isList(value)) return value.length;
    if (isDict(value)) return Object.keys(value).length;
    throw new TemplateError(`error calling len: len of type ${typeName(value)}`);
  },
  print: (...args) => print(args, false),
  println: (...args) => `${print(args, true)}\n`,
  printf: (...args) => sprintf(text(args[0], "printf"), args.slice(1)),
  html: (...args) => print(args, false).replace(/[<>&"']/g, (char) => HTML[char] ?? char),
  js: (...args) =>
    JSON.stringify(print(args, false))
      .slice(1, -1)
      .replace(/[<>&='\u2028\u2029]/g, escaped),
  urlquery: (...args) =>
    encodeURIComponent(print(args, false))
      .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
      .replace(/%20/g, "+"),
  json: (...args) => `${toJsonText(count("json", args, 1, 1)[0] ?? null)}\n`,
  lower: (...args) => text(args[0], "lower").toLowerCase(),
  upper: (...args) => text(args[0], "upper").toUpperCase(),
  title: (...args) =>
    text(args[0], "title").replace(/(^|[^\p{L}\p{N}'])(\p{L})/gu, (_, a, b) => a + b.toUpperCase()),
  join: (...args) => {
    const [list = null, separator = ""] = args;
    if (!isList(list)) throw new TemplateError(`error calling join: can't join ${typeName(list)}`);
    return list.map(show).join(text(separator, "join"));
  },
  split: (...args) => text(args[0], "split").split(text(args[1], "split")),
};

function escaped(char: string): string {
  return char === "'" ? "\\'" : `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
