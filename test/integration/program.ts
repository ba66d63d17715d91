/** The programs under test: dist/gantry when it is as new as its sources, else one compiled for this process. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, hostArch, linkNames } from "../../scripts/lib/compile.ts";

const ROOT = join(import.meta.dirname, "../..");
/** The runtime that runs the source without a build. */
export const BUN = join(ROOT, "node_modules/.bin/bun");
export const DENO = join(ROOT, "node_modules/.bin/deno");
export const MAIN = join(ROOT, "src/main.ts");

let found: string | undefined;

/** Folder with `containerd`, `ctr` and `containerd-shim-runc-v2` of ours. */
export function ourBin(): string {
  found ??= process.env["GANTRY_TEST_BIN"] ?? (fresh() ? join(ROOT, "dist/bin") : compiled());
  return found;
}

function fresh(): boolean {
  const binary = join(ROOT, "dist/gantry");
  if (!existsSync(binary) || !existsSync(join(ROOT, "dist/bin/ctr"))) return false;
  const made = statSync(binary).mtimeMs;
  return ["src", "shims", "images/bin", "package.json"].every((path) => newest(join(ROOT, path)) <= made);
}

function newest(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return path.endsWith(".test.ts") ? 0 : stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function compiled(): string {
  const dir = mkdtempSync(join(tmpdir(), "gantry-bin-"));
  process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "bin"));
  compile(hostArch(), join(dir, "gantry"));
  linkNames(join(dir, "bin"), "../gantry");
  return join(dir, "bin");
}
