/**
 * Every way to name a mirror, against Debian's docker-registry, plain and with TLS and a password: the daemon's Transfer
 * service and `ctr --local` ask the same hosts. Needs root (a mount namespace). Nothing but the loopback is reached: the named registries do not exist.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { DEFAULT_HOST } from "../../src/oci/reference.ts";
import { testImages } from "../fixtures/images.ts";
import { type Registry, startRegistry, USER } from "../fixtures/registry.ts";
import { type Ctr, ctrOf, startDaemon } from "../peers/peer.ts";
import { ourBin } from "./program.ts";

/** A registry that nobody can reach. */
const FAR = "mirrored.invalid";

/** What one method needs besides the running registry. */
interface Setting {
  /** Folder of this case, with `a/` and `b/` in it. */
  readonly dir: string;
  readonly registry: Registry;
  /** `http://HOST` or `https://HOST`. */
  readonly url: string;
  readonly secured: boolean;
}

/** How the daemon is set up. */
interface Method {
  readonly title: string;
  /** Registry in the reference. */
  readonly host?: (s: Setting) => string;
  readonly config?: (s: Setting) => string;
  readonly flags?: (s: Setting) => string[];
  readonly env?: (s: Setting) => Record<string, string>;
  /** Writes files. */
  readonly files?: (s: Setting) => void;
}

function hosts(s: Setting, folder: string, lines: readonly string[]): void {
  mkdirSync(join(s.dir, folder), { recursive: true });
  writeFileSync(join(s.dir, folder, "hosts.toml"), `${lines.join("\n")}\n`);
}

/** A mirror's table in a hosts.toml, with authority and password where they are wanted. */
function mirror(s: Setting): string[] {
  const lines = [`[host."${s.url}"]`, '  capabilities = ["pull", "resolve"]'];
  if (!s.secured) return lines;
  const auth = [
    `  [host."${s.url}".auth]`,
    `    username = "${USER.name}"`,
    `    password = "${USER.password}"`,
  ];
  return [...lines, `  ca = "${s.registry.ca ?? ""}"`, ...auth];
}

/** The authority of the mirror itself, in docker's certificate folder. */
function certificate(s: Setting, folder: string): void {
  if (!s.secured) return;
  mkdirSync(join(s.dir, folder, s.registry.host), { recursive: true });
  copyFileSync(s.registry.ca ?? "", join(s.dir, folder, s.registry.host, "ca.crt"));
}

/** Docker's password file, for the host that is asked. */
function dockerLogin(s: Setting): Record<string, string> {
  if (!s.secured) return {};
  const auth = Buffer.from(`${USER.name}:${USER.password}`).toString("base64");
  writeFileSync(join(s.dir, "config.json"), JSON.stringify({ auths: { [s.registry.host]: { auth } } }));
  return { DOCKER_CONFIG: s.dir };
}

const path = (...folders: string[]) => `config_path = "${folders.join(":")}"`;
const images = (s: Setting, ...folders: string[]): string =>
  `[plugins."io.containerd.grpc.v1.cri".registry]\n${path(...folders.map((f) => join(s.dir, f)))}\n`;

const METHODS: readonly Method[] = [
  {
    title: "registry.mirrors in the configuration, with registry.configs",
    config: (s) => {
      const base = 'plugins."io.containerd.grpc.v1.cri".registry';
      const lines = [`[${base}.mirrors."${FAR}"]`, `  endpoint = ["http://127.0.0.1:1", "${s.url}"]`];
      if (s.secured)
        lines.push(
          `[${base}.configs."${s.registry.host}".tls]`,
          `  ca_file = "${s.registry.ca ?? ""}"`,
          `[${base}.configs."${s.registry.host}".auth]`,
          `  username = "${USER.name}"`,
          `  password = "${USER.password}"`,
        );
      return lines.join("\n");
    },
  },
  {
    title: "config_path: hosts.toml, a dead mirror before the live one",
    config: (s) => images(s, "a"),
    files: (s) =>
      hosts(s, `a/${FAR}`, [
        `server = "https://${FAR}"`,
        '[host."http://127.0.0.1:1"]',
        '  capabilities = ["pull", "resolve"]',
        ...mirror(s),
      ]),
  },
  {
    title: "two folders in one path: what the first does not have is in the second",
    config: (s) => images(s, "a", "b"),
    files: (s) => hosts(s, `b/${FAR}`, mirror(s)),
  },
  {
    title: "_default",
    config: (s) => images(s, "a"),
    files: (s) => hosts(s, "a/_default", mirror(s)),
  },
  {
    title: "config_path of the transfer plugin; override_path",
    config: (s) => `[plugins."io.containerd.transfer.v1.local"]\n${path(join(s.dir, "a"))}\n`,
    files: (s) =>
      hosts(
        s,
        `a/${FAR}`,
        mirror({ ...s, url: `${s.url}/v2` }).flatMap((line) =>
          line.includes("capabilities") ? [line, "  override_path = true"] : [line],
        ),
      ),
  },
  {
    title: "CONTAINER_REGISTRY_MIRROR in the environment, docker's certificate folder and password file",
    host: () => DEFAULT_HOST,
    config: (s) => images(s, "a"),
    files: (s) => certificate(s, "a"),
    env: (s) => ({ CONTAINER_REGISTRY_MIRROR: s.url, ...dockerLogin(s) }),
  },
  {
    title: "--registry-mirror",
    host: () => DEFAULT_HOST,
    config: (s) => images(s, "a"),
    files: (s) => certificate(s, "a"),
    flags: (s) => ["--registry-mirror", s.url],
    env: dockerLogin,
  },
  {
    title: "no mirror: the registry of the reference, docker's certificate folder and password file",
    host: (s) => s.registry.host,
    config: (s) => images(s, "a"),
    files: (s) => certificate(s, "a"),
    env: dockerLogin,
  },
];

/** Pulls an image by the daemon and, unless a flag of the daemon names the mirror, by ctr itself; looks at what is there. */
function pulls(ctr: Ctr, local: Ctr | undefined, ref: string): void {
  for (const [pull, more] of [[ctr, []] as const, [local, ["--local"]] as const]) {
    if (pull === undefined) continue;
    const said = pull("images", "pull", ...more, "--snapshotter", "native", ref);
    assert.equal(said.code, 0, `${more.join()}: ${said.err}`);
    assert.match(ctr("images", "check", "--snapshotter", "native").out, /complete .* true/);
    assert.equal(ctr("images", "rm", "--sync", ref).code, 0);
    assert.doesNotMatch(ctr("content", "ls").out, /sha256/);
  }
}

/** `ctr --local` reads the daemon's configuration where it usually is: in a mount namespace it is this one. */
const UNDER = `
mkdir -p "$1/up" "$1/work"
mount -t overlay overlay -o lowerdir=/etc,upperdir="$1/up",workdir="$1/work" /etc
mkdir -p /etc/containerd; cp "$1/config.toml" /etc/containerd/config.toml
shift; exec "$@"
`;

function ctrUnder(dir: string, ctr: string, address: string, env: Readonly<Record<string, string>>): Ctr {
  return (...args) => {
    const inside = ["bash", "-ec", UNDER, "bash", dir, ctr, "-a", address, ...args];
    const done = spawnSync("unshare", ["-m", "--propagation", "private", ...inside], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, ...env },
    });
    return { code: done.status ?? 128, out: done.stdout, err: done.stderr };
  };
}

for (const secured of [false, true])
  describe(secured ? "TLS and a password" : "plain", { skip: process.getuid?.() !== 0 }, () => {
    for (const method of METHODS)
      test(method.title, { timeout: 120_000 }, async () => {
        await using registry = await startRegistry({
          filled: testImages(),
          ...(secured ? { tls: true, auth: true } : {}),
        });
        const dir = mkdtempSync(join(tmpdir(), "gantry-mirrors-"));
        const bin = ourBin();
        try {
          for (const folder of ["a", "b"]) mkdirSync(join(dir, folder));
          const url = `${secured ? "https" : "http"}://${registry.host}`;
          const setting: Setting = { dir, registry, url, secured };
          method.files?.(setting);
          const env = { DOCKER_CONFIG: join(dir, "none"), ...method.env?.(setting) };
          const daemon = await startDaemon({
            command: [join(bin, "containerd"), ...(method.flags?.(setting) ?? [])],
            path: [bin],
            config: method.config?.(setting) ?? "",
            env,
          });
          try {
            const host = method.host?.(setting) ?? FAR;
            copyFileSync(join(daemon.dir, "config.toml"), join(dir, "config.toml"));
            const ctr = join(bin, "ctr");
            const local = method.flags === undefined ? ctrUnder(dir, ctr, daemon.address, env) : undefined;
            pulls(ctrOf(ctr, daemon.address), local, `${host}/test/busybox:latest`);
          } finally {
            await daemon.stop();
          }
        } finally {
          rmSync(dir, { recursive: true, force: true });
        }
      });
  });
