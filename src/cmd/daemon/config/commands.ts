/** `containerd config default|dump|migrate|check|explain`. */
import { builtins } from "../builtins.ts";
import type { DaemonFlags } from "../flags.ts";
import { effectiveConfig, knownTables } from "./effective.ts";
import { explainKey, renderExplained } from "./explain.ts";
import { loadConfig } from "./load.ts";
import type { Table } from "./migrate.ts";
import { renderToml, toVersion3 } from "./write.ts";

/** @returns the exit code */
export async function configCommand(flags: DaemonFlags, args: readonly string[]): Promise<number> {
  const known = await knownTables(builtins);
  const [what] = args;
  if (what === "default") {
    process.stdout.write(renderToml(toVersion3(effectiveConfig({}, known))));
    return 0;
  }
  if (what === "dump" || what === "migrate" || what === "check") {
    // the file to look at may also just be named: config check FILE
    const [, file] = args;
    const config = loadConfig(file ?? flags.config, flags.configGiven || file !== undefined, known);
    for (const w of config.warnings)
      process.stderr.write(`${w.file}:${w.line ?? "?"}: ${w.key}: ${w.message}\n`);
    if (what === "check") return check(config);
    // migrate shows what the user wrote in the newer form, not every default: their own settings stay visible
    const out = what === "dump" ? effectiveConfig(config.settings, known, overrides(flags)) : config.settings;
    process.stdout.write(renderToml(toVersion3(out)));
    return 0;
  }
  if (what === "explain" && args[1] !== undefined) {
    const [, key, ...rest] = args;
    const config = loadConfig(flags.config, flags.configGiven, known);
    const live = new Map(
      await Promise.all(
        builtins.map(async (b) => [b.uri, (await b.load()).default.config.live ?? []] as const),
      ),
    );
    const list = explainKey(key, config, known, live);
    process.stdout.write(
      rest[0] === "-o" && rest[1] === "json" ? `${JSON.stringify(list, null, 2)}\n` : renderExplained(list),
    );
    return 0;
  }
  process.stderr.write(
    'usage: containerd [--config FILE] config default | dump|migrate|check [FILE] | explain KEY\nrun "containerd --help" for examples\n',
  );
  return 1;
}

function check(config: ReturnType<typeof loadConfig>): number {
  for (const m of config.moved)
    process.stdout.write(`${m.file}:${m.line ?? "?"}: ${m.from.join(".")} is read as ${m.to.join(".")}\n`);
  if (config.files.length === 0) process.stdout.write("no configuration file: every key has its default\n");
  else
    process.stdout.write(
      `${config.files.join(", ")}: version ${config.version}, ${config.warnings.length} warnings\n`,
    );
  return config.warnings.length === 0 ? 0 : 1;
}

function overrides(flags: DaemonFlags): Table {
  const out: Table = {};
  if (flags.root !== undefined) out["root"] = flags.root;
  if (flags.state !== undefined) out["state"] = flags.state;
  return out;
}
