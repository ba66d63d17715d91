/**
 * Generates `src/api/gen` from `src/api/proto` with buf and protoc-gen-es, without a network.
 *
 *     bun scripts/gen-proto.ts            write what changed
 *     bun scripts/gen-proto.ts --check    write nothing, fail when the committed code or the golden list is out of date
 *     bun scripts/gen-proto.ts --golden   write what changed and the golden list `src/api/golden.txt`
 *
 * The golden list is only rewritten on request: a change of the wire is then a choice that shows in the diff.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { describeApi, loadGenerated } from "./lib/api-golden.ts";

const ROOT = resolve(import.meta.dirname, "..");
const GEN = "src/api/gen";
const GOLDEN = join(ROOT, "src/api/golden.txt");

/** Contents of all files below a folder, by path relative to it. */
async function readTree(dir: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(dir.length + 1), await readFile(path, "utf8"));
  }
  return files;
}

/** Runs buf and returns what it generated. Throws when buf fails; its own output has said why. */
async function generate(): Promise<Map<string, string>> {
  const temp = await mkdtemp(join(tmpdir(), "gantry-gen-"));
  try {
    // buf's launcher and the plugin are Node scripts; the Bun that npm installed runs them whatever Node there is.
    const run = spawnSync(
      "node_modules/.bin/bun",
      [
        "--bun",
        "node_modules/@bufbuild/buf/bin/buf",
        "generate",
        "--template",
        "src/api/buf.gen.yaml",
        "-o",
        temp,
      ],
      { cwd: ROOT, stdio: "inherit", env: { ...process.env, BUF_CACHE_DIR: join(temp, "cache") } },
    );
    if (run.error !== undefined) throw run.error;
    if (run.status !== 0) throw new Error(`generate API: buf ended with status ${run.status ?? run.signal}`);
    return await readTree(join(temp, GEN));
  } finally {
    await rm(temp, { recursive: true, force: true });
  }
}

/** Paths whose contents differ between the two trees. */
function differences(want: Map<string, string>, have: Map<string, string>): string[] {
  const paths = new Set([...want.keys(), ...have.keys()]);
  return [...paths].filter((path) => want.get(path) !== have.get(path)).sort();
}

async function main(args: string[]): Promise<number> {
  const unknown = args.find((arg) => arg !== "--check" && arg !== "--golden");
  if (unknown !== undefined) {
    console.error(`unknown argument ${JSON.stringify(unknown)}; known: --check, --golden`);
    return 2;
  }
  const check = args.includes("--check");
  const gen = join(ROOT, GEN);
  await mkdir(gen, { recursive: true });
  const want = await generate();
  const changed = differences(want, await readTree(gen));
  if (check) {
    for (const path of changed)
      console.error(`${GEN}/${path} is not what src/api/proto gives; run npm run gen`);
    if (changed.length > 0) return 1;
  }
  // Only files that changed are written, so that a build running beside this sees no half-empty tree.
  for (const path of changed) {
    const content = want.get(path);
    const target = join(gen, path);
    if (content === undefined) {
      await rm(target);
    } else {
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, content);
    }
    console.log(`${content === undefined ? "removed" : "wrote"} ${GEN}/${path}`);
  }
  const golden = `${describeApi(await loadGenerated(gen)).join("\n")}\n`;
  if (args.includes("--golden")) {
    await writeFile(GOLDEN, golden);
    return 0;
  }
  if ((await readFile(GOLDEN, "utf8").catch(() => "")) !== golden) {
    console.error(
      "src/api/golden.txt is not what the definitions say; if that is meant, run npm run gen -- --golden",
    );
    return 1;
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
