import { readFileSync, readlinkSync } from "node:fs";

/** True under Bun, compiled or not. */
export const isBun: boolean = "Bun" in globalThis;
/** True under Deno. */
export const isDeno: boolean = "Deno" in globalThis;

/** True in the single executable made by `bun build --compile`. */
export function isCompiled(): boolean {
  return isBun && import.meta.url.startsWith("file:///$bunfs/");
}

/** The resolved real file of the running program (or of the runtime, for a source run). */
export function execPath(): string {
  // /proc says it also when the file was replaced; the runtime's own answer may be the link's name.
  const path = readlinkSync("/proc/self/exe");
  return path.endsWith(" (deleted)") ? path.slice(0, -" (deleted)".length) : path;
}

/** The words this process was started with, the name it was called by first. */
export function commandLine(): string[] {
  const words = readFileSync("/proc/self/cmdline", "utf8").split("\0");
  words.pop();
  return words;
}

/**
 * The name the program was called by ("ctr", "containerd"), without folder. A compiled Bun program's argv does not have it,
 * /proc does. For a source run the name is that of the script.
 */
export function callName(): string {
  const name = isCompiled() ? commandLine()[0] : process.argv[1];
  return (name ?? "").replace(/^.*\//, "").replace(/\.[cm]?[jt]s$/, "");
}

/** Arguments after the program (and, for a source run, after the script). */
export function userArgs(): string[] {
  return process.argv.slice(2);
}

/** How to start a program: `spawn(command, args, { argv0 })`. */
export interface Invocation {
  readonly command: string;
  readonly args: string[];
  readonly argv0?: string;
}

/**
 * How to start this same program with other arguments, say `["shim", ...]`.
 * @param name what the process is called in `ps` (argv[0]), "gantry" unless given; compiled only, as a source run needs the runtime's name
 */
export function reExec(args: readonly string[], name?: string): Invocation {
  if (isCompiled()) {
    // the file may have the name of a mode: a copy called "containerd"
    return { command: execPath(), args: [...args], argv0: name ?? "gantry" };
  }
  const script = mainScript ?? process.argv[1] ?? "";
  const before = isDeno ? ["run", "-A", "--quiet", script] : [script];
  return { command: execPath(), args: [...before, ...args] };
}

let mainScript: string | undefined;

/** For tests run from source: the script that {@link reExec} starts, instead of the test runner's. */
export function setMainScript(path: string): void {
  mainScript = path;
}
