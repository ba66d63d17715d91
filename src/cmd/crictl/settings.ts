/** What a run of crictl works with: flags and environment first, then /etc/crictl.yaml, then defaults. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { invalidArgument, messageOf, notFound } from "../../core/errors.ts";
import { parseDuration } from "../../lib/human.ts";

export const DEFAULT_CONFIG = "/etc/crictl.yaml";
/** Sockets tried in order when none is set. */
export const DEFAULT_ENDPOINTS: readonly string[] = [
  "unix:///run/containerd/containerd.sock",
  "unix:///run/crio/crio.sock",
  "unix:///var/run/cri-dockerd.sock",
];

/** The options of the config file, all of them. */
export interface FileOptions {
  "runtime-endpoint": string;
  "image-endpoint": string;
  /** Seconds; 0 is the default. */
  timeout: number;
  debug: boolean;
  "pull-image-on-create": boolean;
  "disable-pull-on-run": boolean;
  "max-retries": number;
}

export const FILE_DEFAULTS: Readonly<FileOptions> = {
  "runtime-endpoint": "",
  "image-endpoint": "",
  timeout: 0,
  debug: false,
  "pull-image-on-create": false,
  "disable-pull-on-run": false,
  "max-retries": 3,
};

/** The effective settings. */
export interface Settings {
  /** Empty: try {@link DEFAULT_ENDPOINTS}. */
  readonly runtimeEndpoint: string;
  /** Empty: the runtime endpoint. */
  readonly imageEndpoint: string;
  readonly timeoutMs: number;
  readonly debug: boolean;
  readonly pullOnCreate: boolean;
  readonly pullOnRun: boolean;
  readonly maxRetries: number;
}

const DEFAULT_TIMEOUT_MS = 2_000;

/**
 * @param globals flags before the command
 * @throws invalid-argument, not-found (a config file that was named)
 */
export function resolveSettings(globals: Readonly<Record<string, unknown>>): Settings {
  const text = (name: string): string | undefined =>
    typeof globals[name] === "string" ? (globals[name] as string) : undefined;
  const file = loadFile(text("config"));
  const timeoutText = text("timeout");
  const timeout = timeoutText === undefined ? file.timeout * 1_000 : durationMs("--timeout", timeoutText);
  const retries = text("maxRetries");
  return {
    runtimeEndpoint: text("runtimeEndpoint") || file["runtime-endpoint"],
    imageEndpoint: text("imageEndpoint") || file["image-endpoint"],
    timeoutMs: timeout > 0 ? timeout : DEFAULT_TIMEOUT_MS,
    debug: globals["debug"] === true || file.debug,
    pullOnCreate: file["pull-image-on-create"],
    pullOnRun: !file["disable-pull-on-run"],
    maxRetries: retries === undefined ? file["max-retries"] : wholeNumber("--max-retries", retries),
  };
}

function loadFile(named: string | undefined): FileOptions {
  if (named !== undefined) {
    if (!existsSync(named))
      throw notFound(`load config file "${named}": no such file`, {
        hint: "create it with: crictl --config FILE config --list",
      });
    return readOptions(named);
  }
  for (const path of [DEFAULT_CONFIG, join(dirname(process.execPath), "crictl.yaml")])
    if (existsSync(path)) return readOptions(path);
  return { ...FILE_DEFAULTS };
}

/** Reads a config file. @throws invalid-argument */
export function readOptions(path: string): FileOptions {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (err) {
    throw invalidArgument(`load config file "${path}": ${messageOf(err)}`, { cause: err });
  }
  return parseOptions(text, path);
}

/**
 * Parses the flat `key: value` lines that this file has. Unknown keys are ignored, as crictl does.
 * @throws invalid-argument naming file and line
 */
export function parseOptions(text: string, path: string): FileOptions {
  const options: FileOptions = { ...FILE_DEFAULTS };
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(?:#.*)?$/.test(line) || /^(?:---|\.\.\.)\s*$/.test(line) || /^[{}]+\s*$/.test(line)) continue;
    const match = /^\s*["']?([A-Za-z][\w-]*)["']?\s*:(?:\s+(.*?))?\s*$/.exec(line);
    if (match === null) {
      // a nested value of a key we do not know
      if (/^\s/.test(line)) continue;
      throw invalidArgument(`load config file "${path}": line ${i + 1}: want "key: value"`);
    }
    try {
      setOption(options, match[1] ?? "", unquote(match[2] ?? ""), false);
    } catch (err) {
      throw invalidArgument(`load config file "${path}": line ${i + 1}: ${messageOf(err)}`, { cause: err });
    }
  }
  return options;
}

function unquote(value: string): string {
  const quoted = /^(?:"(.*)"|'(.*)')\s*(?:#.*)?$/.exec(value);
  if (quoted !== null) return quoted[1] ?? quoted[2] ?? "";
  const plain = value.replace(/(?:^|\s)#.*$/, "").trim();
  return plain === "null" || plain === "~" ? "" : plain;
}

/**
 * Sets an option from its text.
 * @param strict whether an unknown key is an error
 * @throws invalid-argument
 */
export function setOption(options: FileOptions, key: string, value: string, strict = true): void {
  switch (key) {
    case "runtime-endpoint":
    case "image-endpoint":
      options[key] = value;
      return;
    case "timeout":
    case "max-retries":
      options[key] = value === "" ? FILE_DEFAULTS[key] : wholeNumber(key, value);
      return;
    case "debug":
    case "pull-image-on-create":
    case "disable-pull-on-run":
      options[key] = value === "" ? FILE_DEFAULTS[key] : truthOf(key, value);
      return;
    default:
      if (strict)
        throw invalidArgument(`no configuration option named "${key}"`, {
          hint: `options: ${Object.keys(FILE_DEFAULTS).join(", ")}`,
        });
  }
}

/** @throws invalid-argument */
export function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!/^[-+]?\d+$/.test(text) || !Number.isSafeInteger(value))
    throw invalidArgument(`parse ${name} value "${text}": want a whole number`);
  return value;
}

function truthOf(name: string, text: string): boolean {
  if (/^(?:1|t|true|yes|on)$/i.test(text)) return true;
  if (/^(?:0|f|false|no|off)$/i.test(text)) return false;
  throw invalidArgument(`parse ${name} value "${text}": want true or false`);
}

/** Milliseconds of a duration with a unit; a bare number is seconds. @throws invalid-argument */
export function durationMs(flag: string, text: string): number {
  try {
    return Number(parseDuration(/^[-+]?\d+(?:\.\d+)?$/.test(text) ? `${text}s` : text) / 1_000_000n);
  } catch (err) {
    throw invalidArgument(`parse ${flag} value "${text}": want a number with a unit, such as 30s or 1m30s`, {
      cause: err,
    });
  }
}
