/** Reads the CDI files of the host. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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
  if (!file.endsWith(".json"))
    throw invalidArgument("YAML is not read: write the file as JSON (nvidia-ctk has --format=json)");
  const result = cdiSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw invalidArgument(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not a CDI file"}`);
}
