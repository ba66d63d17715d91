/** Compiles the one executable; shared by build.ts and release.ts. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BundleOptions } from "./bundle.ts";

export const ROOT = join(import.meta.dirname, "../..");

/** OCI architecture name to Bun's compile target. */
const TARGETS: Readonly<Record<string, string>> = { amd64: "bun-linux-x64", arm64: "bun-linux-arm64" };
/** Names the executable is called by; each starts a mode of src/main.ts. */
export const LINK_NAMES = ["containerd", "ctr", "crictl", "containerd-shim-runc-v2"] as const;

/** The OCI name of this machine's architecture. */
export const hostArch = (): string => (process.arch === "x64" ? "amd64" : process.arch);

/** Version of package.json. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;
}

/** Commit of the work tree, with `.m` when it has changes; "" outside of git. */
export function revision(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync("git", args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    const dirty = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "HEAD") + (dirty ? ".m" : "");
  } catch {
    return "";
  }
}

/**
 * Compiles src/main.ts for an architecture into `out`, which is replaced only when the build succeeded. For another
 * architecture Bun takes its runtime from the package registry. Neither a .env nor a bunfig.toml of the folder the
 * executable is started in may change what a root daemon does, so their loading is compiled out.
 * @param version what the program says it is
 */
export function compile(arch: string, out: string, version: string = packageVersion()): void {
  const target = TARGETS[arch];
  if (target === undefined) throw new Error(`build for "${arch}": have ${Object.keys(TARGETS).join(", ")}`);
  mkdirSync(dirname(out), { recursive: true });
  const part = `${out}.${process.pid}.new`;
  const options: BundleOptions = {
    root: ROOT,
    out: part,
    target: arch === hostArch() ? undefined : target,
    define: {
      GANTRY_VERSION: JSON.stringify(version),
      GANTRY_REVISION: JSON.stringify(revision()),
    },
  };
  try {
    const done = spawnSync(bun(), [join(import.meta.dirname, "bundle.ts"), JSON.stringify(options)], {
      cwd: ROOT,
      stdio: ["ignore", "ignore", "inherit"],
    });
    if (done.status !== 0)
      throw new Error(`compile for ${arch}: bun build ended with ${done.status ?? done.signal}`);
    chmodSync(part, 0o755);
    renameSync(part, out);
  } finally {
    rmSync(part, { force: true });
  }
}

/** Makes a folder with the executable's names as links to `target` (relative to the folder). */
export function linkNames(dir: string, target: string): void {
  mkdirSync(dir, { recursive: true });
  for (const name of LINK_NAMES) {
    rmSync(join(dir, name), { force: true });
    symlinkSync(target, join(dir, name));
  }
}

/** The Bun that package.json pins: the one that runs this script, or the one in node_modules. */
function bun(): string {
  return process.versions["bun"] !== undefined ? process.execPath : join(ROOT, "node_modules/.bin/bun");
}
