/** `-o json` and `-o yaml` of the everyday commands. */
import { invalidArgument } from "../../core/errors.ts";
import type { Json } from "../../lib/yaml-emit.ts";
import { toJson } from "../ctr/table.ts";

export type Format = "table" | "json" | "yaml";

/** The flag --output. @throws invalid-argument */
export function formatOf(options: Readonly<Record<string, unknown>>, fallback: Format = "table"): Format {
  const text = options["output"] ?? fallback;
  if (text === "table" || text === "json" || text === "yaml") return text;
  throw invalidArgument(`flag --output "${String(text)}": want table, json or yaml`);
}

/** Writes a value as JSON or YAML. */
export async function writeStructured(value: unknown, format: "json" | "yaml"): Promise<void> {
  const json = toJson(value);
  if (format === "json") {
    process.stdout.write(json);
    return;
  }
  const { emitYaml } = await import("../../lib/yaml-emit.ts");
  process.stdout.write(emitYaml(JSON.parse(json) as Json));
}
