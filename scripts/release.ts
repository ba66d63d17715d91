/**
 * release.ts [--target ARCH]... [--out DIR]: makes DIR/gantry-VERSION-linux-ARCH.tar.gz and its sha256 for each architecture (this
 * machine's unless given; DIR is dist), in containerd's layout. The archive's bytes depend only on the sources and the tools.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { compile, hostArch, LINK_NAMES, packageVersion, ROOT } from "./lib/compile.ts";
import { TarWriter } from "./lib/tar-writer.ts";

/** Where each file of packaging/ goes in the archive. */
const PACKAGING: Readonly<Record<string, string>> = {
  "containerd.service": "etc/systemd/system/containerd.service",
  "config.toml": "etc/containerd/config.toml",
  "crictl.yaml": "etc/crictl.yaml",
  "10-containerd-net.conflist": "etc/cni/net.d/10-containerd-net.conflist",
};

const { values } = parseArgs({
  options: { target: { type: "string", multiple: true }, out: { type: "string" } },
});
const DIST = values.out ?? join(ROOT, "dist");
for (const arch of values.target ?? [hostArch()]) release(arch);

function release(arch: string): void {
  mkdirSync(DIST, { recursive: true });
  const executable = join(DIST, arch === hostArch() ? "gantry" : `gantry-${arch}`);
  compile(arch, executable);
  const tar = new TarWriter().dir("bin").file("bin/gantry", readFileSync(executable), 0o755);
  for (const name of LINK_NAMES) tar.symlink(`bin/${name}`, "gantry");
  for (const dir of [
    "etc",
    "etc/cni",
    "etc/cni/net.d",
    "etc/containerd",
    "etc/systemd",
    "etc/systemd/system",
  ])
    tar.dir(dir);
  for (const [file, path] of Object.entries(PACKAGING)) tar.file(path, read(`packaging/${file}`));
  tar.file("install.sh", read("install.sh"), 0o755).file("LICENSE", read("LICENSE"));
  tar.file("THIRD-PARTY-LICENSES", thirdParty());
  if (existsSync(join(ROOT, "README.md"))) tar.file("README.md", read("README.md"));

  const name = `gantry-${packageVersion()}-linux-${arch}.tar.gz`;
  const out = join(DIST, name);
  const bytes = gzipSync(tar.finish(), { level: 6 });
  writeFileSync(out, bytes);
  writeFileSync(`${out}.sha256sum`, `${createHash("sha256").update(bytes).digest("hex")}  ${name}\n`);
  console.log(`${out}: ${(statSync(out).size / 1e6).toFixed(1)} MB`);
}

/** Licence texts of the packages that are compiled in, and of the runtime. */
function thirdParty(): string {
  const lock = JSON.parse(read("package-lock.json").toString()) as {
    packages: Record<string, { dev?: boolean; version?: string; license?: string }>;
  };
  const parts = [
    "This executable contains the packages below and the Bun runtime, each under its own licence.\n",
  ];
  for (const [path, entry] of Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const isRuntime = path === "node_modules/bun";
    if (path === "" || (entry.dev === true && !isRuntime) || !existsSync(join(ROOT, path))) continue;
    const file = readdirSync(join(ROOT, path)).find((name) => /^(licen[cs]e|copying)/i.test(name));
    const text = file === undefined ? "" : read(join(path, file)).toString();
    const title = `${path.replace(/^.*node_modules\//, "")} ${entry.version ?? ""} (${entry.license ?? "see below"})`;
    parts.push(`${"=".repeat(80)}\n${title}\n\n${text}`);
  }
  return `${parts.join("\n")}\n`;
}

function read(path: string): Buffer {
  return readFileSync(join(ROOT, path));
}
