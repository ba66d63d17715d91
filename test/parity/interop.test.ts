/**
 * Other tools read what we push and export, and we read theirs: Debian's skopeo, podman, buildah, and docker's daemon with a
 * data root of its own. What counts is the image's id (digest of its config) and the merged tree. Needs root.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CACHE, imageName, testImages } from "../fixtures/images.ts";
import { type Registry, startRegistry } from "../fixtures/registry.ts";
import { type Ctr, type Daemon, mountsBelow, peerBin, startDaemon } from "../peers/peer.ts";
import { listing } from "../security/unpack-rig.ts";
import { ok, ourCtr } from "./ctr.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");
const DOCKER = join(CACHE, "peers/docker/usr");
const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;
const skip =
  process.getuid?.() !== 0 || !has("podman") || !has("buildah") || !has("skopeo")
    ? "needs root, podman, buildah, skopeo"
    : false;
const noDocker = skip || !existsSync(join(DOCKER, "sbin/dockerd")) ? "needs docker's daemon" : false;

/** One layer, zstd, ten layers with whiteouts and extended attributes, an index of two platforms. */
const NAMES = ["busybox", "busybox-zstd", "layers10", "multi"] as const;

/** Many starts of large programs: a loaded machine takes its time. */
const LONG = { timeout: 300_000 };

const dir = mkdtempSync(join(tmpdir(), "gantry-interop-"));
const images = testImages();
let registry: Registry;
let daemon: Daemon;
let ctr: Ctr;

function run(program: string, args: readonly string[]): string {
  const done = spawnSync(program, args, { encoding: "utf8", timeout: 120_000 });
  assert.equal(done.status, 0, `${program} ${args.join(" ")}: ${done.stderr}${done.stdout}`);
  return done.stdout.trim();
}

const STORAGE = ["--root", join(dir, "podman"), "--runroot", join(dir, "run"), "--storage-driver", "vfs"];
const podman = (...args: string[]): string =>
  run("podman", [...STORAGE, "--cgroup-manager", "cgroupfs", ...args]);
const buildah = (...args: string[]): string => run("buildah", [...STORAGE, ...args]);
const skopeo = (...args: string[]): string => run("skopeo", ["--insecure-policy", ...args]);

/** Id of an image in our store: the config digest of the first manifest that inspect shows. */
function ourId(name: string): string {
  const text = ok(ctr("images", "inspect", "-o", "json", name));
  const config = (value: unknown): string | undefined => {
    if (typeof value !== "object" || value === null) return undefined;
    const own = (value as { config?: { digest?: unknown } }).config?.digest;
    if (typeof own === "string") return own;
    for (const child of Object.values(value)) {
      const found = config(child);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return bare(config(JSON.parse(text)) ?? assert.fail(text.slice(0, 2000)));
}

/** A listing without the times of directories: tools differ in what the making of their children does to these. */
const comparable = (path: string): string => listing(path).replace(/^(.* 0o4\d+ \d+ \d+ - )\d+/gm, "$1-");

/** The merged tree as we unpack it. */
function ourTree(name: string): string {
  const target = join(dir, `mount-${Math.random().toString(36).slice(2)}`);
  mkdirSync(target);
  ok(ctr("images", "mount", name, target));
  try {
    return comparable(target);
  } finally {
    ok(ctr("images", "unmount", "--rm", target));
  }
}

function podmanTree(id: string): string {
  const path = podman("image", "mount", id);
  try {
    return comparable(path);
  } finally {
    podman("image", "umount", id);
  }
}

const bare = (id: string): string => id.replace(/^sha256:/, "");
const forget = (): void => void podman("rmi", "--all", "--force");

describe("other tools", { skip }, () => {
  before(async () => {
    registry = await startRegistry();
    const lead = "Deno" in globalThis ? ["run", "-A"] : [];
    daemon = await startDaemon({ command: [process.execPath, ...lead, MAIN, "daemon"] });
    ctr = ourCtr(daemon.address, 120_000);
    for (const name of NAMES) ok(ctr("images", "import", "--all-platforms", images.archive(name)));
  });
  after(async () => {
    await daemon.stop();
    await registry.stop();
    for (const target of mountsBelow(dir)) spawnSync("umount", ["-l", target]);
    rmSync(dir, { recursive: true, force: true });
  });

  for (const name of NAMES) {
    test(`${name}: what we push is pulled by podman, buildah and skopeo`, LONG, () => {
      const ref = registry.ref(`ours-${name}`);
      ok(ctr("images", "push", ref, imageName(name)));
      const id = ourId(imageName(name));
      podman("pull", "-q", "--tls-verify=false", ref);
      assert.equal(bare(podman("image", "inspect", "--format", "{{.Id}}", ref)), id);
      assert.equal(podmanTree(ref), ourTree(imageName(name)));
      const container = buildah("from", "--tls-verify=false", "--pull-always", ref);
      assert.equal(bare(buildah("inspect", "--format", "{{.FromImageID}}", container)), id);
      buildah("rm", container);
      skopeo("copy", "-q", "--all", "--src-tls-verify=false", `docker://${ref}`, `dir:${dir}/copy-${name}`);
      forget();
    });

    test(`${name}: what we export is loaded by podman, buildah and skopeo`, LONG, () => {
      const tar = join(dir, `export-${name}.tar`);
      ok(ctr("images", "export", tar, imageName(name)));
      const id = ourId(imageName(name));
      assert.match(podman("load", "-q", "-i", tar), new RegExp(`Loaded image.*${name}:latest`));
      // Docker's archives have plain layers: what was compressed may get another manifest, never another config.
      assert.equal(bare(podman("image", "inspect", "--format", "{{.Id}}", imageName(name))), id);
      assert.equal(podmanTree(imageName(name)), ourTree(imageName(name)));
      forget();
      const container = buildah("from", `oci-archive:${tar}`);
      assert.equal(bare(buildah("inspect", "--format", "{{.FromImageID}}", container)), id);
      buildah("rm", container);
      const config = skopeo("inspect", "--config", "--raw", `docker-archive:${tar}`);
      assert.deepEqual(
        JSON.parse(config),
        JSON.parse(skopeo("inspect", "--config", "--raw", `oci-archive:${tar}`)),
      );
      forget();
      rmSync(tar);
    });
  }

  test("what we convert to zstd is pulled by podman, and by us", LONG, async () => {
    // podman remembers for each registry which compressed forms of a layer it has, and would push these as Docker's type.
    await using own = await startRegistry();
    for (const [i, from] of ["layers10", "busybox"].entries()) {
      ok(ctr("images", "convert", "--zstd", imageName(from), `local.test/zstd:v${i}`));
      const ref = own.ref("zstd", `v${i}`);
      ok(ctr("images", "push", ref, `local.test/zstd:v${i}`));
      assert.match(skopeo("inspect", "--raw", "--tls-verify=false", `docker://${ref}`), /tar\+zstd/);
      podman("pull", "-q", "--tls-verify=false", ref);
      assert.equal(podmanTree(ref), ourTree(imageName(from)));
      ok(ctr("images", "rm", "--sync", `local.test/zstd:v${i}`));
      ok(ctr("images", "pull", ref));
      assert.equal(ourTree(ref), ourTree(imageName(from)));
      forget();
    }
  });

  test("what podman saves and pushes, we import and pull: every format", LONG, async () => {
    await using own = await startRegistry();
    for (const name of ["layers10", "busybox"] as const) {
      const id = ourId(imageName(name));
      const tree = ourTree(imageName(name));
      podman("load", "-q", "-i", images.archive(name));
      const check = (made: string): void => {
        assert.equal(ourId(made), id, made);
        assert.equal(ourTree(made), tree, made);
        ok(ctr("images", "rm", made));
      };
      for (const format of ["docker-archive", "oci-archive"]) {
        const tar = join(dir, `podman-${format}.tar`);
        rmSync(tar, { force: true });
        const again = `local.test/${format}-${name}:v1`;
        podman("tag", imageName(name), again);
        podman("save", "-q", "--format", format, "-o", tar, again);
        ok(ctr("images", "import", tar));
        check(again);
        podman("rmi", again);
      }
      for (const format of ["oci", "v2s2"]) {
        const ref = own.ref(`podman-${name}`, format);
        podman("push", "-q", "--tls-verify=false", "--format", format, imageName(name), ref);
        const said = ok(ctr("images", "pull", ref));
        assert.match(said, /Completed pull/);
        // Another manifest format has another config document when it changes its media type's fields: the tree counts.
        assert.equal(ourTree(ref), tree, ref);
        ok(ctr("images", "rm", ref));
      }
      forget();
    }
  });

  test(
    "what skopeo and buildah make, we read: zstd, schema 2, an index, an image built from commands",
    LONG,
    () => {
      const source = (name: string): string => `oci:${images.layout}:${name}`;
      const tree = ourTree(imageName("layers10"));
      const zstd = registry.ref("skopeo", "zstd");
      const flags = ["-q", "--dest-tls-verify=false"];
      skopeo("copy", ...flags, "--dest-compress-format", "zstd", source("layers10"), `docker://${zstd}`);
      ok(ctr("images", "pull", zstd));
      assert.equal(ourTree(zstd), tree);
      const schema2 = registry.ref("skopeo", "schema2");
      skopeo("copy", ...flags, "--format", "v2s2", source("layers10"), `docker://${schema2}`);
      ok(ctr("images", "pull", schema2));
      assert.equal(ourTree(schema2), tree);
      assert.match(ok(ctr("images", "ls", `name==${schema2}`)), /vnd\.docker\.distribution\.manifest\.v2/);
      const index = registry.ref("skopeo", "index");
      skopeo("copy", ...flags, "--all", source("multi"), `docker://${index}`);
      ok(ctr("images", "pull", index));
      assert.match(ok(ctr("images", "ls", `name==${index}`)), /linux\/amd64,linux\/arm64/);
      const tar = join(dir, "skopeo.tar");
      skopeo("copy", "-q", source("layers10"), `docker-archive:${tar}:local.test/skopeo:v1`);
      ok(ctr("images", "import", tar));
      assert.equal(ourTree("local.test/skopeo:v1"), tree);

      podman("load", "-q", "-i", images.archive("busybox"));
      const container = buildah("from", "--pull-never", imageName("busybox"));
      const root = buildah("mount", container);
      writeFileSync(join(root, "made"), "by buildah");
      rmSync(join(root, "etc/group"));
      execFileSync("setfattr", ["-n", "user.made", "-v", "yes", join(root, "made")]);
      buildah("umount", container);
      buildah("commit", "-q", container, "local.test/built:v1");
      const built = registry.ref("buildah");
      buildah("push", "-q", "--tls-verify=false", "local.test/built:v1", `docker://${built}`);
      ok(ctr("images", "pull", built));
      assert.equal(ourTree(built), podmanTree("local.test/built:v1"));
      assert.match(ourTree(built), /made/);
      buildah("rm", container);
      forget();
    },
  );
});

describe("docker", { skip: noDocker }, () => {
  let child: ChildProcess;
  const address = join(dir, "docker.sock");
  const docker = (...args: string[]): string =>
    run(join(DOCKER, "bin/docker"), ["-H", `unix://${address}`, ...args]);

  before(async () => {
    registry = await startRegistry();
    const lead = "Deno" in globalThis ? ["run", "-A"] : [];
    daemon = await startDaemon({ command: [process.execPath, ...lead, MAIN, "daemon"] });
    ctr = ourCtr(daemon.address, 120_000);
    for (const name of NAMES) ok(ctr("images", "import", "--all-platforms", images.archive(name)));
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "docker.json"), "{}");
    const log = openSync(join(dir, "docker.log"), "a");
    const folders = [
      "--data-root",
      join(dir, "dockerd"),
      "--exec-root",
      join(dir, "exec"),
      "--pidfile",
      join(dir, "pid"),
    ];
    const quiet = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"];
    child = spawn(
      join(DOCKER, "sbin/dockerd"),
      [...folders, ...quiet, "--config-file", join(dir, "docker.json"), "--host", `unix://${address}`],
      {
        env: { ...process.env, PATH: `${peerBin("1.6")}:${process.env["PATH"] ?? ""}` },
        stdio: ["ignore", log, log],
      },
    );
    const end = Date.now() + 30_000;
    while (spawnSync(join(DOCKER, "bin/docker"), ["-H", `unix://${address}`, "version"]).status !== 0) {
      if (child.exitCode !== null || Date.now() > end)
        throw new Error(`start dockerd: ${readFileSync(join(dir, "docker.log"), "utf8").slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  after(async () => {
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    if (child.exitCode === null) {
      child.kill("SIGTERM");
      await gone;
    }
    await daemon.stop();
    await registry.stop();
    for (const target of mountsBelow(dir)) spawnSync("umount", ["-l", target]);
    rmSync(dir, { recursive: true, force: true });
  });

  // Docker 20.10 knows no zstd layers.
  for (const name of ["busybox", "layers10", "multi"] as const)
    test(
      `${name}: docker loads and pulls ours; we import and pull what docker saves and pushes`,
      LONG,
      () => {
        const tar = join(dir, "to-docker.tar");
        ok(ctr("images", "export", tar, imageName(name)));
        const id = ourId(imageName(name));
        const tree = ourTree(imageName(name));
        assert.match(docker("load", "-i", tar), new RegExp(`Loaded image: ${imageName(name)}`));
        assert.equal(bare(docker("image", "inspect", "--format", "{{.Id}}", imageName(name))), id);
        const ref = registry.ref(`docker-${name}`);
        ok(ctr("images", "push", ref, imageName(name)));
        docker("pull", "-q", ref);
        assert.equal(bare(docker("image", "inspect", "--format", "{{.Id}}", ref)), id);

        const back = join(dir, "from-docker.tar");
        const made = `local.test/${name}:docker`;
        docker("tag", imageName(name), made);
        docker("save", "-o", back, made);
        ok(ctr("images", "import", back));
        assert.equal(ourId(made), id);
        assert.equal(ourTree(made), tree);
        const pushed = registry.ref(`from-docker-${name}`);
        docker("tag", imageName(name), pushed);
        docker("push", "-q", pushed);
        ok(ctr("images", "pull", pushed));
        assert.equal(ourId(pushed), id);
        assert.equal(ourTree(pushed), tree);
      },
    );
});
