/** Reads the CDI files of the host. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse as parseYaml } from "yaml";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { type CdiSpec, cdiSchema } from "./schema.ts";

/** Where vendors and their tools put files; the later folder wins. */
export const CDI_DIRS: readonly string[] = ["/etc/cdi", "/var/run/cdi"];

/** What was found. */
export interface CdiFiles {
  /** Lowest priority first. */
  readonly specs: readonly CdiSpec[];
  /** Files that were not taken, with the reason. */
  readonly broken: readonly { readonly file: string; readonly reason: string }[];
}

/** Reads every file; a folder that is not there is empty. */
export function readCdiFiles(dirs: readonly string[] = CDI_DIRS): CdiFiles {
  const specs: CdiSpec[] = [];
  const broken: { file: string; reason: string }[] = [];
  for (const dir of dirs) {
    for (const name of list(dir)) {
      const file = join(dir, name);
      try {
        specs.push(parse(file));
      } catch (err) {
        broken.push({ file, reason: messageOf(err) });
      }
    }
  }
  return { specs, broken };
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => /\.(json|yaml|yml)$/.test(name))
      .sort();
  } catch {
    return [];
  }
}

function parse(file: string): CdiSpec {
  const text = readFileSync(file, "utf8");
  // version 1.1, as the tools that write these files read them: 0660 is octal
  const value: unknown = file.endsWith(".json") ? JSON.parse(text) : parseYaml(text, { version: "1.1" });
  const result = cdiSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw invalidArgument(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not a CDI file"}`);
}
