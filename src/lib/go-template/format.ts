/** Go's `fmt.Sprintf` for values of templates. */
import { isDict, isList, show, toJsonText, typeName, type Value } from "./values.ts";

interface Spec {
  readonly minus: boolean;
  readonly plus: boolean;
  readonly zero: boolean;
  readonly alt: boolean;
  readonly space: boolean;
  readonly width: number;
  readonly precision: number | undefined;
}

/** Formats as Go does, also what does not fit: `%!d(string=x)`, `%!s(MISSING)`, `%!(EXTRA ...)`. */
export function sprintf(format: string, args: readonly Value[]): string {
  let used = 0;
  const number = (text: string | undefined): number | undefined => {
    if (text === undefined || text === "") return undefined;
    return text === "*" ? Number(args[used++] ?? 0) : Number(text);
  };
  const out = format.replace(
    /%([-+# 0]*)(\d+|\*)?(?:\.(\d+|\*)?)?([%a-zA-Z])/g,
    (all: string, flags: string, width: string | undefined, precision: string | undefined, verb: string) => {
      const spec: Spec = {
        minus: flags.includes("-"),
        plus: flags.includes("+"),
        zero: flags.includes("0"),
        alt: flags.includes("#"),
        space: flags.includes(" "),
        width: number(width) ?? 0,
        precision: all.includes(".") ? (number(precision) ?? 0) : undefined,
      };
      if (verb === "%") return "%";
      if (used >= args.length) return `%!${verb}(MISSING)`;
      return one(verb, args[used++] ?? null, spec);
    },
  );
  if (used >= args.length) return out;
  const extra = args.slice(used).map((arg) => `${typeName(arg)}=${show(arg)}`);
  return `${out}%!(EXTRA ${extra.join(", ")})`;
}

function one(verb: string, value: Value, spec: Spec): string {
  const text = body(verb, value, spec);
  if (text === undefined)
    return `%!${verb}(${value === null || value === undefined ? "<nil>" : `${typeName(value)}=${show(value)}`})`;
  const gap = spec.width - [...text].length;
  if (gap <= 0) return text;
  if (spec.minus) return text + " ".repeat(gap);
  if (!spec.zero || typeof value !== "number") return " ".repeat(gap) + text;
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + "0".repeat(gap) + text.slice(sign.length);
}

function body(verb: string, value: Value, spec: Spec): string | undefined {
  const cut = (text: string): string =>
    spec.precision === undefined ? text : [...text].slice(0, spec.precision).join("");
  switch (verb) {
    case "v":
      if (spec.alt) return toJsonText(value);
      return typeof value === "number" ? signed(show(value), value, spec) : show(value);
    case "s":
      if (typeof value === "string") return cut(value);
      return isList(value) || isDict(value) ? show(value) : undefined;
    case "q":
      if (typeof value === "string") return JSON.stringify(cut(value));
      if (typeof value === "number") return `'${String.fromCodePoint(value)}'`;
      return isList(value) ? `[${value.map((v) => body("q", v, spec) ?? show(v)).join(" ")}]` : undefined;
    case "t":
      return typeof value === "boolean" ? String(value) : undefined;
    case "T":
      return typeName(value);
    case "x":
    case "X": {
      const hex =
        typeof value === "number"
          ? Math.trunc(value).toString(16)
          : typeof value === "string"
            ? hexOf(value)
            : undefined;
      if (spec.alt && hex !== undefined) return verb === "X" ? `0X${hex.toUpperCase()}` : `0x${hex}`;
      return verb === "X" ? hex?.toUpperCase() : hex;
    }
    default:
      return typeof value === "number" ? numeric(verb, value, spec) : undefined;
  }
}

function numeric(verb: string, value: number, spec: Spec): string | undefined {
  switch (verb) {
    case "d":
      return signed(Math.trunc(value).toFixed(0), value, spec);
    case "f":
    case "F":
      return signed(value.toFixed(spec.precision ?? 6), value, spec);
    case "e":
      return signed(exponent(value.toExponential(spec.precision ?? 6)), value, spec);
    case "g":
      return signed(
        spec.precision === undefined ? String(value) : String(Number(value.toPrecision(spec.precision || 1))),
        value,
        spec,
      );
    case "b":
      return Math.trunc(value).toString(2);
    case "o":
      return Math.trunc(value).toString(8);
    case "c":
      return String.fromCodePoint(value);
    case "U":
      return `U+${value.toString(16).toUpperCase().padStart(4, "0")}`;
    default:
      return undefined;
  }
}

function signed(text: string, value: number, spec: Spec): string {
  if (value < 0) return text;
  return spec.plus ? `+${text}` : spec.space ? ` ${text}` : text;
}

/** Two digits at least, as in Go. */
const exponent = (text: string): string => text.replace(/e([+-])(\d)$/, "e$10$2");

function hexOf(text: string): string {
  return [...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
