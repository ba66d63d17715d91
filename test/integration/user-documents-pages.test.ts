/** What the pages of docs/ say about this repository is so: messages are in the sources, tests and pages that are named exist. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const PAGES = [
  "README.md",
  "README.zh-CN.md",
  ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`),
].filter((path) => path.endsWith(".md"));

test("troubleshooting: every message of ours is in the sources", () => {
  const sources = textOf("src");
  const missing: string[] = [];
  let count = 0;
  for (const line of read("docs/troubleshooting.md").split("\n")) {
    const cell = /^\| (.*?) \| /.exec(line)?.[1] ?? "";
    // messages of other programs are their own
    if (!cell.startsWith("`") || /\((runc|sudo)\)/.test(cell)) continue;
    for (const [, message = ""] of cell.matchAll(/`([^`]+)`/g)) {
      count++;
      const pieces = message
        .split("...")
        .map((piece) => piece.replace(/^[":]+ ?|"$/g, "").trim())
        .filter((piece) => piece.length > 3);
      for (const piece of pieces) if (!sources.includes(piece)) missing.push(`${message}: "${piece}"`);
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(count >= 25, `${count} messages`);
});

test("compatibility: every test that is named exists", () => {
  const files = ["test", "src", "shims"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true }).map((name) => `${folder}/${String(name)}`),
  );
  const missing: string[] = [];
  for (const [, name = ""] of read("docs/compatibility.md").matchAll(/`([\w./*-]+\.(?:test\.ts|sh))`/g)) {
    const pattern = new RegExp(`(^|/)${name.replaceAll(".", "\\.").replaceAll("*", "[^/]*")}$`);
    if (name !== "install.sh" && !files.some((file) => pattern.test(file))) missing.push(name);
  }
  assert.deepEqual(missing, []);
});

test("pages link to pages that exist", () => {
  const missing: string[] = [];
  for (const page of PAGES)
    for (const [, target = ""] of read(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
      if (!existsSync(join(ROOT, page, "..", target))) missing.push(`${page}: ${target}`);
  assert.deepEqual(missing, []);
});

test("README: both languages have the same commands", () => {
  // installing and first steps; what comes behind is for developers
  const commands = (path: string): string[] =>
    read(path)
      .split("\n## Documentation")[0]
      ?.split("\n")
      .filter((line) => /^ {4}\S/.test(line))
      .map((line) => line.trim()) ?? [];
  const chinese = new Set(commands("README.zh-CN.md"));
  assert.ok(chinese.size > 20);
  assert.deepEqual(
    commands("README.md").filter((line) => !chinese.has(line)),
    [],
  );
});

function textOf(dir: string): string {
  return readdirSync(join(ROOT, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !entry.parentPath.includes("/gen"))
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
    .join("\n");
}
