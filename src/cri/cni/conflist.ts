/** CNI network configurations: `*.conflist` (a chain of plugins) and `*.conf`, `*.json` (one plugin), as files of a folder. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { invalidArgument, messageOf, notFound } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** One plugin of a chain. */
export interface CniPlugin {
  /** Name of the executable: never a path (S54). */
  readonly type: string;
  /** Capabilities it wants run-time values for. */
  readonly capabilities: ReadonlySet<string>;
  /** Its configuration as written. */
  readonly raw: JsonObject;
}

/** A network: what one ADD goes through. */
export interface CniNetwork {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly CniPlugin[];
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  /** The whole document as written: kept with the result, so that DEL undoes what ADD did after the file has changed. */
  readonly text: string;
  /** File it came from, "" when from memory. */
  readonly file: string;
}

/** Versions of the protocol whose results can be handed from plugin to plugin. */
const VERSIONS: readonly string[] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/** Network names become file names. */
const NAME = /^[A-Za-z0-9][\w.-]*$/;

/** Reads one document. @throws invalid-argument saying what is wrong */
export function parseNetwork(text: string, file = ""): CniNetwork {
  const what = `network configuration "${file}"`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw invalidArgument(`${what}: ${messageOf(err)}`, { cause: err });
  }
  if (!isObject(value)) throw invalidArgument(`${what}: not a JSON object`);
  const name = value["name"];
  if (name === undefined) throw invalidArgument(`${what}: it has no name`);
  if (typeof name !== "string" || !NAME.test(name))
    throw invalidArgument(`${what}: name ${JSON.stringify(name)} is not a network name`);
  const version = value["cniVersion"] ?? "0.3.0";
  if (typeof version !== "string" || !VERSIONS.includes(version))
    throw invalidArgument(`${what}: cniVersion ${JSON.stringify(version)} is not supported`, {
      hint: `use one of ${VERSIONS.join(", ")}`,
    });
  const list = "plugins" in value ? value["plugins"] : [value];
  if (!Array.isArray(list) || list.length === 0) throw invalidArgument(`${what}: has no plugins`);
  return {
    name,
    cniVersion: version,
    plugins: list.map((plugin) => parsePlugin(plugin, what)),
    disableGc: value["disableGC"] === true || value["disableGC"] === "true",
    disableCheck: value["disableCheck"] === true || value["disableCheck"] === "true",
    text,
    file,
  };
}

/**
 * Networks of a folder in the order of their file names. A broken file is passed over with a warning, so that it does not take
 * the network away from everybody.
 * @param max how many to take; 0 = all
 * @throws not-found when there is none
 */
export async function loadNetworks(dir: string, max: number, log: Logger): Promise<CniNetwork[]> {
  let names: string[] = [];
  try {
    names = (await readdir(dir)).filter((name) => /\.(conf|conflist|json)$/.test(name)).sort();
  } catch (err) {
    if (!isMissing(err)) throw err;
  }
  const found: CniNetwork[] = [];
  for (const name of names) {
    if (max > 0 && found.length === max) break;
    try {
      found.push(parseNetwork(await readFile(join(dir, name), "utf8"), join(dir, name)));
    } catch (err) {
      log.warn("network configuration is passed over", { file: join(dir, name), err });
    }
  }
  if (found.length === 0)
    throw notFound(`no network configuration in "${dir}"`, {
      hint: "install CNI plugins and write a .conflist file there",
    });
  return found;
}

function parsePlugin(value: unknown, what: string): CniPlugin {
  if (!isObject(value)) throw invalidArgument(`${what}: a plugin is not a JSON object`);
  const type = value["type"];
  if (type === undefined) throw invalidArgument(`${what}: a plugin has no type`);
  if (typeof type !== "string" || type === "" || type === "." || type === ".." || /[/\0]/.test(type))
    throw invalidArgument(`${what}: plugin type ${JSON.stringify(type)} is not the name of a program`);
  const wanted = value["capabilities"];
  const names = isObject(wanted) ? Object.keys(wanted).filter((name) => wanted[name] === true) : [];
  return { type, capabilities: new Set(names), raw: value };
}

/** A value that is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && "code" in err && err.code === "ENOENT";
}
