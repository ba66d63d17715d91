/**
 * The static gate: types, format and lint, import rules, generated code, file sizes, forbidden words. Runs every check and
 * reports all failures; exit 1 when any failed. Everything runs under Bun: Debian's node is too old for some tools.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
/** Hard limit of lines in a source file. */
const MAX_LINES = 600;

interface Check {
  readonly name: string;
  readonly run: () => string | undefined;
}

function command(...args: string[]): () => string | undefined {
  return () => {
    const done = spawnSync(process.execPath, args, {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1" },
    });
    return done.status === 0 ? undefined : `${done.stdout}${done.stderr}`.trim();
  };
}

function files(...patterns: string[]): string[] {
  const out = spawnSync("git", ["ls-files", "-co", "--exclude-standard", ...patterns], {
    cwd: root,
    encoding: "utf8",
  });
  return out.stdout.split("\n").filter((f) => f !== "" && !f.includes("/gen/"));
}

function longFiles(): string | undefined {
  const long = files("src/*.ts", "shims/*.ts")
    .map((file) => ({ file, lines: readFileSync(join(root, file), "utf8").split("\n").length }))
    .filter((f) => f.lines > MAX_LINES);
  return long.length === 0
    ? undefined
    : long.map((f) => `${f.file}: ${f.lines} lines, the limit is ${MAX_LINES}: split it by job`).join("\n");
}

/** What must not be in any file: addresses of lockfile downloads and this checkout's own path. */
function forbidden(): string | undefined {
  const bad: string[] = [];
  const lock = readFileSync(join(root, "package-lock.json"), "utf8");
  if (/"resolved":\s*"https?:/.test(lock)) bad.push("package-lock.json records download addresses");
  for (const file of files()) {
    if (/\.(png|tar|gz)$/.test(file)) continue;
    if (readFileSync(join(root, file), "utf8").includes(`${root}/`))
      bad.push(`${file}: names this machine's path`);
  }
  return bad.length === 0 ? undefined : bad.join("\n");
}

const bin = (path: string): string => join("node_modules", path);
const checks: readonly Check[] = [
  { name: "types", run: command(bin("tsc7/bin/tsc"), "--noEmit", "-p", "tsconfig.json") },
  {
    name: "format and lint",
    run: command(bin("@biomejs/biome/bin/biome"), "check", "--max-diagnostics=30", "."),
  },
  {
    name: "import rules",
    run: command(
      "--bun",
      bin("dependency-cruiser/bin/dependency-cruiser.mjs"),
      "--config",
      ".dependency-cruiser.cjs",
      "src",
      "shims",
    ),
  },
  { name: "generated code", run: command("scripts/gen-proto.ts", "--check") },
  { name: "file sizes", run: longFiles },
  { name: "forbidden words", run: forbidden },
];

let failed = 0;
for (const check of checks) {
  const started = performance.now();
  const problem = check.run();
  const ms = Math.round(performance.now() - started);
  if (problem === undefined) console.log(`ok    ${check.name} (${ms} ms)`);
  else {
    failed++;
    console.log(`FAIL  ${check.name} (${ms} ms)\n${problem}\n`);
  }
}
process.exit(failed === 0 ? 0 : 1);
