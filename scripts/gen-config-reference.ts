/** Writes docs/configuration.md from the definitions of the plugins and the descriptions of their keys. `--check` compares only. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { builtins } from "../src/cmd/daemon/builtins.ts";
import { effectiveConfig, knownTables } from "../src/cmd/daemon/config/effective.ts";
import { LIVE_TOP, version3Path } from "../src/cmd/daemon/config/explain.ts";
import { describeKey } from "../src/cmd/daemon/config/keys.ts";
import { isTable, type Table } from "../src/cmd/daemon/config/migrate.ts";
import { renderKey, renderValue } from "../src/cmd/daemon/config/write.ts";

const PATH = join(import.meta.dirname, "../docs/configuration.md");

/** The page. */
export async function configReference(): Promise<string> {
  const live = new Map(
    await Promise.all(
      builtins.map(async (b) => [b.uri, (await b.load()).default.config.live ?? []] as const),
    ),
  );
  const sections = new Map<string, string[]>();
  const walk = (table: Table, path: readonly string[]): void => {
    for (const [key, value] of Object.entries(table)) {
      const at = [...path, key];
      if (isTable(value) && Object.keys(value).length > 0) {
        walk(value, at);
        continue;
      }
      const shown = version3Path(at);
      const section = shown.slice(0, -1).map(renderKey).join(".");
      const [top = "", uri = "", first = ""] = at;
      const takes = top === "plugins" ? (live.get(uri) ?? []).includes(first) : LIVE_TOP.includes(top);
      const text = (describeKey(top === "plugins" ? at.slice(1) : at) ?? "")
        .replaceAll("\n", " ")
        .replaceAll("|", "\\|");
      const line = `| \`${shown.at(-1)}\` | \`${renderValue(value).replaceAll("|", "\\|")}\` | ${text}${takes ? " (live)" : ""} |`;
      sections.set(section, [...(sections.get(section) ?? []), line]);
    }
  };
  // one machine's platform is not another's
  walk({ ...effectiveConfig({}, await knownTables(builtins)), version: 3 }, []);
  const parts = [...sections]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, lines]) =>
        `## ${name === "" ? "Top of the file" : `\`[${name}]\``}\n| key | default | what it is for |\n|---|---|---|\n${lines.join("\n")}\n`,
    );
  return `# Configuration
Every key of \`/etc/containerd/config.toml\` in version 3, with its default. Made by \`bun scripts/gen-config-reference.ts\`; \`containerd config explain KEY\` says the
same of one key, and where your value comes from. "(live)": a reload takes it; everything else needs a restart. Registry files, CNI
configuration and the image folder are read when they are used.

${parts.join("\n")}`.replaceAll(
    `linux/${process.arch === "x64" ? "amd64" : process.arch}`,
    "linux/ARCHITECTURE",
  );
}

if (import.meta.main) {
  const text = await configReference();
  if (process.argv.includes("--check")) {
    if (readFileSync(PATH, "utf8") !== text) {
      process.stderr.write(
        "docs/configuration.md is not up to date: run bun scripts/gen-config-reference.ts\n",
      );
      process.exit(1);
    }
  } else writeFileSync(PATH, text);
}
