/**
 * An image in the place of nginx's: busybox's web server on port 80, for two architectures. Documents run `nginx`; a registry on
 * loopback serves this one under that name.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciLayout } from "../../scripts/lib/oci-layout.ts";
import { TarWriter } from "../../scripts/lib/tar-writer.ts";

/** What the web server answers. */
export const WEB_PAGE = "Welcome to the lab's nginx!\n";

/** Writes an OCI layout with the tag `web` (an index of amd64 and arm64) into `dir`. */
export function writeWebLayout(dir: string): void {
  const layout = new OciLayout();
  const config = {
    Env: ["PATH=/bin", "NGINX_VERSION=1.21.6"],
    Cmd: ["httpd", "-f", "-p", "80", "-h", "/www"],
    ExposedPorts: { "80/tcp": {} },
  };
  const arm64 = { architecture: "arm64", os: "linux", variant: "v8" };
  const page = new TarWriter().dir("www").file("www/index.html", WEB_PAGE).finish();
  // This machine runs the first; nobody runs the other one here.
  const images = [
    layout.image({ layers: [rootTar(), page], config }),
    layout.image({ layers: [page], config, platform: arm64 }),
  ];
  layout.tag("web", layout.index(images));
  layout.write(dir);
}

/**
 * Copies the layout's image to a registry on loopback with Docker's media types: a manifest list, as the hub serves.
 * @param wrap the command line that runs a program where the registry is
 */
export function pushWeb(
  layout: string,
  host: string,
  name: string,
  wrap: (program: string, args: readonly string[]) => readonly string[] = (program, args) => [
    program,
    ...args,
  ],
): void {
  const flags = ["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--format", "v2s2", "--all"];
  const [program = "", ...args] = wrap("skopeo", [...flags, `oci:${layout}:web`, `docker://${host}/${name}`]);
  execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
}

/** An archive of two images that share a layer: `reg.test/alpine` is the layer alone, `reg.test/redis` has one more. */
export function writeSharedBase(path: string): void {
  const layout = new OciLayout();
  const base = rootTar();
  const config = { Env: ["PATH=/bin"], Cmd: ["sleep", "1000"] };
  const own = new TarWriter().dir("data").file("data/redis", "redis\n").finish();
  const dir = mkdtempSync(join(tmpdir(), "gantry-shared-"));
  try {
    layout.tag("reg.test/alpine:latest", layout.image({ layers: [base], config }));
    layout.tag("reg.test/redis:latest", layout.image({ layers: [base, own], config }));
    layout.write(dir);
    execFileSync("tar", ["-cf", path, "-C", dir, "."]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** An archive as `docker save NAME` writes it. */
export function dockerSave(layout: string, archive: string, name: string): void {
  const flags = ["copy", "-q", "--insecure-policy", "--override-arch", "amd64"];
  execFileSync("skopeo", [...flags, `oci:${layout}:web`, `docker-archive:${archive}:${name}`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
}

function rootTar(): Buffer {
  const tar = new TarWriter();
  for (const dir of ["bin", "dev", "etc", "proc", "sys", "root"]) tar.dir(dir);
  tar.dir("tmp", 0o1777).file("bin/busybox", readFileSync("/bin/busybox"), 0o755);
  const applets = execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).split("\n").filter(Boolean);
  for (const applet of applets) if (applet !== "busybox") tar.symlink(`bin/${applet}`, "busybox");
  return tar.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n").file("etc/group", "root:x:0:\n").finish();
}
