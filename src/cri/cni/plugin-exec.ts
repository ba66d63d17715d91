/** Runs one CNI plugin: command in the environment, configuration on stdin, result or error on stdout. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { deadlineExceeded, type GantryError, internal, notFound, unavailable } from "../../core/errors.ts";
import { RunTimeoutError, run } from "../../platform/process/spawn.ts";
import { isObject, type JsonObject } from "./conflist.ts";

/** Largest result or error read. Bytes. */
const MAX_OUTPUT = 1 << 20;
/** Error code of the CNI specification for "try again later". */
const TRY_AGAIN = 11;

/** What a plugin is told besides its configuration. */
export interface PluginCall {
  readonly command: "ADD" | "CHECK" | "DEL" | "GC" | "STATUS" | "VERSION";
  readonly containerId: string;
  /** Path of the network namespace; "" when it is gone (DEL only). */
  readonly netns: string;
  readonly ifName: string;
  /** `K=V;K=V`. */
  readonly args: string;
}

/** Where plugins are and how long each may take. */
export interface PluginRunner {
  readonly binDirs: readonly string[];
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs the plugin. After the timeout its whole process group is killed (R13).
 * @returns its result; undefined when it printed none
 * @throws not-found (no such program), deadline-exceeded, unavailable ("try again"), internal with the plugin's own words
 */
export async function runPlugin(
  type: string,
  config: JsonObject,
  call: PluginCall,
  runner: PluginRunner,
): Promise<JsonObject | undefined> {
  const program = findPlugin(type, runner.binDirs);
  const what = `cni plugin "${type}": ${call.command}`;
  const done = await run(program, [], {
    stdin: JSON.stringify(config),
    env: {
      // nothing else of the daemon's environment: it may hold secrets
      PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
      CNI_COMMAND: call.command,
      CNI_CONTAINERID: call.containerId,
      CNI_NETNS: call.netns,
      CNI_IFNAME: call.ifName,
      CNI_ARGS: call.args,
      CNI_PATH: runner.binDirs.join(":"),
    },
    timeoutMs: runner.timeoutMs,
    killGroup: true,
    maxOutput: MAX_OUTPUT,
    // a plugin may leave a child behind that keeps its pipes
    until: "exit",
    ...(runner.signal === undefined ? {} : { signal: runner.signal }),
  }).catch((err: unknown) => {
    if (err instanceof RunTimeoutError)
      throw deadlineExceeded(`${what}: no answer in ${runner.timeoutMs} ms, killed`, { cause: err });
    throw err;
  });
  const out = new TextDecoder().decode(done.stdout).trim();
  const value = parse(out);
  if (done.code !== 0) throw pluginError(what, value, done.code, new TextDecoder().decode(done.stderr));
  if (out !== "" && value === undefined) throw internal(`${what}: its answer is not a JSON object`);
  return value;
}

/** @throws not-found naming the folders */
function findPlugin(type: string, binDirs: readonly string[]): string {
  for (const dir of binDirs) {
    const path = join(dir, type);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // the next folder
    }
  }
  throw notFound(`cni plugin "${type}" in ${binDirs.join(", ")}`, { hint: "install the CNI plugins" });
}

function parse(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function pluginError(
  what: string,
  value: JsonObject | undefined,
  exitCode: number,
  stderr: string,
): GantryError {
  const words = [value?.["msg"], value?.["details"]].filter((w) => typeof w === "string" && w !== "");
  const reason =
    words.length > 0 ? words.join("; ") : stderr.trim().slice(0, 2000) || `exit code ${exitCode}`;
  return value?.["code"] === TRY_AGAIN ? unavailable(`${what}: ${reason}`) : internal(`${what}: ${reason}`);
}
