/**
 * Everything that reads a text from outside, with texts that were valid before they were changed (reliability S38, F18): the answer or an
 * error of our own, in bounded processor time, with no prototype touched. GANTRY_FUZZ_TEXTS and GANTRY_FUZZ_SEED make it longer and
 * another one.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadConfig } from "../../src/cmd/daemon/config/load.ts";
import { codeOf, GantryError, messageOf } from "../../src/core/errors.ts";
import { compileFilters } from "../../src/core/filters/filter.ts";
import { parseDigest } from "../../src/core/ids/digest.ts";
import { formatMount, parseTransformers } from "../../src/core/mounts/activation.ts";
import { parseNetwork } from "../../src/cri/cni/conflist.ts";
import { podAddresses } from "../../src/cri/cni/pod-network.ts";
import { renderTemplate } from "../../src/cri/cni/template.ts";
import { parseDuration, parseSize } from "../../src/lib/human.ts";
import {
  parseDockerArchive,
  parseImageConfig,
  parseLayoutIndex,
  parseManifestOrIndex,
} from "../../src/oci/documents.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { normalizeReference, parseReference } from "../../src/oci/reference.ts";
import { parseChallenges } from "../../src/registry/auth.ts";
import { retryAfter } from "../../src/registry/errors.ts";
import { parseHostsToml } from "../../src/registry/hosts-toml.ts";
import { maskText, maskUrl } from "../../src/registry/mask.ts";
import { isDefect } from "./fuzz/calls.ts";
import { ODD } from "./fuzz/messages.ts";
import { Random } from "./fuzz/random.ts";

const COUNT = Number(process.env["GANTRY_FUZZ_TEXTS"] ?? 300);
const SEED = Number(process.env["GANTRY_FUZZ_SEED"] ?? 1);
/** Of one call, far above what any needs. Microseconds of processor time. */
const MOST_US = 3_000_000;

const DIGEST = `sha256:${"ab".repeat(32)}`;
const manifest = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: DIGEST, size: 12 },
  layers: [
    {
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest: DIGEST,
      size: 5,
      annotations: { a: "b" },
    },
  ],
};
const index = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.index.v1+json",
  manifests: [
    {
      mediaType: manifest.mediaType,
      digest: DIGEST,
      size: 5,
      platform: { os: "linux", architecture: "arm", variant: "v7" },
    },
  ],
};
const config = {
  os: "linux",
  architecture: "amd64",
  created: "2026-01-01T00:00:00Z",
  config: {
    Env: ["A=b"],
    Cmd: ["sh"],
    Labels: { a: "b" },
    ExposedPorts: { "80/tcp": {} },
    Volumes: { "/v": {} },
  },
  rootfs: { type: "layers", diff_ids: [DIGEST] },
  history: [{ created_by: "x", empty_layer: true }],
};
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Parser {
  readonly name: string;
  readonly seeds: readonly string[];
  readonly parse: (text: string) => unknown;
}

const folder = mkdtempSync(join(tmpdir(), "gantry-parsers-"));
after(() => rmSync(folder, { recursive: true }));
const file = join(folder, "config.toml");
const PARSERS: readonly Parser[] = [
  {
    name: "references",
    seeds: [
      "docker.io/library/busybox:latest",
      `host.test:5000/a/b@${DIGEST}`,
      "localhost/x:1",
      "[::1]:5000/a:b",
    ],
    parse: (t) => [parseReference(t), normalizeReference(t)],
  },
  { name: "short names", seeds: ["busybox", "a/b:c"], parse: normalizeReference },
  { name: "digests", seeds: [DIGEST, `sha512:${"cd".repeat(64)}`], parse: parseDigest },
  {
    name: "platforms",
    seeds: ["linux/arm/v7", "windows(10.0.17763)/amd64", "linux", "arm64"],
    parse: (t) => parsePlatform(t),
  },
  {
    name: "filters",
    seeds: ['name==a,labels."a.b"~=^x.*y$|z', "id!=d", "type", "name~=/(a|b)+[^c-e]{1,3}x?$/"],
    parse: (t) => compileFilters([t])(() => ({ value: `${"a".repeat(60)}!`, present: true })),
  },
  {
    name: "challenges",
    seeds: [
      'Bearer realm="https://a.test/token",service="s",scope="repository:a/b:pull,push"',
      'Basic realm="x", Bearer realm=y',
    ],
    parse: (t) => parseChallenges([t]),
  },
  { name: "Retry-After", seeds: ["120", "Fri, 31 Dec 1999 23:59:59 GMT"], parse: (t) => retryAfter(t) },
  {
    name: "texts with secrets",
    seeds: ["get https://user:pass@a.test/x?sig=abc&token=y: Authorization: Bearer abc", "https://a.test/?x"],
    parse: (t) => [maskText(t), maskUrl(t)],
  },
  {
    name: "hosts.toml",
    seeds: [
      'server = "https://a.test"\n[host."https://m.test:5000/v2"]\ncapabilities = ["pull", "resolve"]\nskip_verify = true\noverride_path = true\n[host."https://m.test:5000/v2".header]\nx = ["a", "b"]\n',
    ],
    parse: (t) => parseHostsToml(t, "hosts.toml", async () => ""),
  },
  {
    name: "config.toml",
    seeds: [
      'version = 3\nroot = "/r"\nimports = []\n[grpc]\naddress = "/a.sock"\n[plugins.\'io.containerd.cri.v1.runtime\']\nenable_selinux = false\n[timeouts]\n"x" = "5s"\n',
      'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."a.test"]\nendpoint = ["https://b.test"]\n',
    ],
    parse: (t) => {
      writeFileSync(file, t);
      return loadConfig(file, true, { plugins: {}, defaults: {} } as never);
    },
  },
  {
    name: "CNI networks",
    seeds: [
      '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}',
      '{"cniVersion":"0.4.0","name":"n","type":"bridge"}',
    ],
    parse: (t) => parseNetwork(t),
  },
  {
    name: "CNI results",
    seeds: [
      '{"ips":[{"address":"10.0.0.1/24","interface":0}],"interfaces":[{"name":"eth0","sandbox":"/x"}]}',
    ],
    parse: (t) => podAddresses(json(t), "ipv4"),
  },
  {
    name: "CNI templates",
    seeds: ['{"a":"{{.PodCIDR}}"{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}"{{$r}}"{{end}}}'],
    parse: (t) =>
      renderTemplate(t, { PodCIDR: "10.0.0.0/8", PodCIDRRanges: ["10.0.0.0/8"], Routes: [] } as never),
  },
  {
    name: "manifests",
    seeds: [JSON.stringify(manifest)],
    parse: (t) => parseManifestOrIndex(bytes(t), manifest.mediaType),
  },
  {
    name: "indexes",
    seeds: [JSON.stringify(index)],
    parse: (t) => parseManifestOrIndex(bytes(t), index.mediaType),
  },
  { name: "image configs", seeds: [JSON.stringify(config)], parse: (t) => parseImageConfig(bytes(t)) },
  { name: "layout indexes", seeds: [JSON.stringify(index)], parse: (t) => parseLayoutIndex(bytes(t)) },
  {
    name: "docker archives",
    seeds: [JSON.stringify([{ Config: "a.json", RepoTags: ["a:b"], Layers: ["x/layer.tar"] }])],
    parse: (t) => parseDockerArchive(bytes(t)),
  },
  {
    name: "sizes and durations",
    seeds: ["1.5GiB", "10", "1h2m3.5s", "-5ms"],
    parse: (t) => [outcome(() => parseSize(t)), outcome(() => parseDuration(t))],
  },
  {
    name: "mount transformers",
    seeds: [
      "X-containerd.mkdir.path={{ mount 0 }}/a:755:1:2",
      "lowerdir={{ overlay 0 2 }}",
      "X-containerd.mkfs.size=8MiB",
    ],
    parse: (t) => {
      const mount = { type: "format/mkdir/overlay", source: t, target: t, options: [t] };
      return [parseTransformers(mount), outcome(() => formatMount(mount, []))];
    },
  },
];

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function outcome(work: () => unknown): unknown {
  try {
    return work();
  } catch (err) {
    if (!(err instanceof GantryError) && !(err instanceof SyntaxError)) throw err;
    return undefined;
  }
}

/** Changes a text: characters, tokens, parts that come again many times, ends. */
function change(random: Random, seed: string, all: readonly string[]): string {
  let text = seed;
  for (let i = 1 + random.below(4); i > 0; i--) {
    const at = random.below(text.length + 1);
    const to = Math.min(text.length, at + random.below(12));
    const part = text.slice(at, to);
    switch (random.below(8)) {
      case 0:
        text = text.slice(0, at);
        break;
      case 1:
        text = text.slice(0, at) + text.slice(to);
        break;
      case 2:
        text = text.slice(0, at) + random.pick(ODD) + text.slice(to);
        break;
      case 3:
        text =
          text.slice(0, at) + (part === "" ? "x" : part).repeat(random.pick([2, 50, 3000])) + text.slice(at);
        break;
      case 4:
        text =
          text.slice(0, at) +
          random
            .pick(["(", "[", "{", '"', "'", "=", "[[", '{"a":', "((", "\\"])
            .repeat(random.pick([1, 2, 20_000])) +
          text.slice(at);
        break;
      case 5:
        text = text.slice(0, at) + random.pick(all).slice(random.below(20)) + text.slice(to);
        break;
      case 6:
        text = text.replace(
          random.pick(['"a"', "name", "x", "1", "a"]),
          random.pick(["__proto__", "constructor", "toString", '"__proto__"', "-1", "1e999", "null"]),
        );
        break;
      default:
        text =
          text.slice(0, at) +
          String.fromCharCode(
            random.pick([0, 9, 10, 13, 32, 34, 92, 127, 0x2028, 0xd800, 0xfeff, random.below(0x250)]),
          ) +
          text.slice(to);
    }
    if (text.length > 150_000) text = text.slice(0, 150_000);
  }
  return text;
}

for (const { name, seeds, parse } of PARSERS)
  test(`${COUNT} changed texts: ${name}`, { timeout: 3_600_000 }, async () => {
    const random = new Random(SEED);
    for (const seed of seeds) await parse(seed);
    for (let i = 0; i < COUNT; i++) {
      const text = change(random, random.pick(seeds), seeds);
      const shown = `text ${i} of seed ${SEED} (${text.length}): ${JSON.stringify(text.slice(0, 200))}`;
      const begun = process.cpuUsage();
      try {
        await parse(text);
      } catch (err) {
        // zod says so of what is missing
        const message = messageOf(err).replaceAll("received undefined", "");
        const said = { method: name, code: codeOf(err), message, ms: 0 };
        assert.ok(err instanceof GantryError && !isDefect(said), `${shown}: ${String(err)}`);
        assert.ok(said.message.length < 400_000, `${shown}: an error of ${said.message.length} characters`);
      }
      const { user, system } = process.cpuUsage(begun);
      assert.ok(user + system < MOST_US, `${shown}: ${(user + system) / 1000} ms of processor time`);
    }
    assert.deepEqual(Object.keys(Object.prototype), []);
    assert.equal(({} as Record<string, unknown>)["x"], undefined);
  });
