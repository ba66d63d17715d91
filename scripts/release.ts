/**
 * release.ts [--target ARCH]... [--out DIR] [--bundle [--runc FILE] [--cni DIR]]: makes DIR/gantry-VERSION-linux-ARCH.tar.gz and its
 * sha256 for each architecture (this machine's unless given; DIR is dist), in containerd's layout. --bundle makes
 * gantry-bundle-VERSION-linux-ARCH.tar.gz, too, in the layout of cri-containerd-cni: for `tar -C /`, with the runc and the CNI
 * plugins that were given. An archive's bytes depend only on the sources, the tools and what was given.
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
  options: {
    target: { type: "string", multiple: true },
    out: { type: "string" },
    bundle: { type: "boolean" },
    runc: { type: "string" },
    cni: { type: "string" },
  },
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

  write(`gantry-${packageVersion()}-linux-${arch}.tar.gz`, tar);
  if (values.bundle === true)
    write(`gantry-bundle-${packageVersion()}-linux-${arch}.tar.gz`, bundle(executable));
}

/**
 * Everything where it belongs below /. Folders of the system have no entries of their own: unpacking must not change them. The
 * program's file is `containerd`, so that the lists by which people remove that bundle remove this one.
 */
function bundle(executable: string): TarWriter {
  const tar = new TarWriter().file("usr/local/bin/containerd", readFileSync(executable), 0o755);
  for (const name of ["gantry", ...LINK_NAMES])
    if (name !== "containerd") tar.symlink(`usr/local/bin/${name}`, "containerd");
  // people write this one themselves: containerd config default > /etc/containerd/config.toml
  for (const [file, path] of Object.entries(PACKAGING))
    if (file !== "config.toml") tar.file(path, read(`packaging/${file}`));
  tar.file("opt/containerd/cluster/version", `${packageVersion()}\n`);
  tar
    .file("opt/containerd/LICENSE", read("LICENSE"))
    .file("opt/containerd/THIRD-PARTY-LICENSES", thirdParty());
  if (values.runc !== undefined) tar.file("usr/local/sbin/runc", readFileSync(values.runc), 0o755);
  if (values.cni !== undefined)
    for (const name of readdirSync(values.cni).sort()) {
      const path = join(values.cni, name);
      if (statSync(path).isFile())
        tar.file(`opt/cni/bin/${name}`, readFileSync(path), statSync(path).mode & 0o777);
    }
  return tar;
}

function write(name: string, tar: TarWriter): void {
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
