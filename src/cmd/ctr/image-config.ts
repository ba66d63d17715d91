/** Reads what `run` needs of an image: its config for a platform, its chain of layers. */

import type { NamespacedCall } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { dataLoss, invalidArgument, notFound } from "../../core/errors.ts";
import { type Digest, parseDigest } from "../../core/ids/digest.ts";
import type { Descriptor, Platform } from "../../core/oci.ts";
import { chainIds } from "../../oci/chain-id.ts";
import { matchOnly } from "../../oci/platform.ts";
import type { ImageRunConfig } from "../../oci/spec/options.ts";
import { sha256Hex } from "../../platform/sha256.ts";

/** Largest manifest or config read. Bytes. */
const MAX_JSON = 8n << 20n;

/** What an image resolves to on a platform. */
export interface ResolvedImage {
  readonly manifest: Digest;
  readonly config: Digest;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly Digest[];
  readonly run: ImageRunConfig;
  readonly labels: ReadonlyMap<string, string>;
  readonly platform: Platform;
}

/** Reads and checks a JSON blob. @throws not-found, data-loss */
export async function readJson(
  store: ContentStore,
  call: NamespacedCall,
  digest: Digest,
): Promise<Record<string, unknown>> {
  await using reader = await store.reader(call, digest);
  if (reader.size > MAX_JSON) throw invalidArgument(`read "${digest}": larger than ${MAX_JSON} bytes`);
  const parts: Uint8Array[] = [];
  for await (const part of reader.stream()) parts.push(part.slice());
  const bytes = Buffer.concat(parts);
  const real = `sha256:${sha256Hex(bytes)}`;
  if (digest.startsWith("sha256:") && real !== digest)
    throw dataLoss(`read "${digest}": stored bytes hash to ${real}`, { hint: "pull the image again" });
  const value: unknown = JSON.parse(bytes.toString("utf8"));
  return record(value);
}

/** Resolves an image target for a platform. @throws not-found naming the platform */
export async function resolveImage(
  store: ContentStore,
  call: NamespacedCall,
  target: Descriptor,
  platform: Platform,
  depth = 0,
): Promise<ResolvedImage> {
  if (depth > 4) throw invalidArgument(`image "${target.digest}": indexes nest too deep`);
  const doc = await readJson(store, call, target.digest);
  if (Array.isArray(doc["manifests"])) {
    const best = bestFor(doc["manifests"].map(record), platform);
    if (best === undefined) {
      throw notFound(`image for platform ${platform.os}/${platform.architecture}`, {
        hint: "pull it with --platform, or run an image made for this platform",
      });
    }
    const child: Descriptor = {
      mediaType: text(best["mediaType"]),
      digest: parseDigest(text(best["digest"])),
      size: 0n,
    };
    return await resolveImage(store, call, child, platform, depth + 1);
  }
  const config = parseDigest(text(record(doc["config"])["digest"]));
  const image = await readJson(store, call, config);
  const run = record(image["config"]);
  return {
    manifest: target.digest,
    config,
    layers: list(doc["layers"])
      .map(record)
      .map((l) => ({
        mediaType: text(l["mediaType"]),
        digest: parseDigest(text(l["digest"])),
        size: BigInt(Number(l["size"] ?? 0)),
      })),
    diffIds: list(record(image["rootfs"])["diff_ids"]).map((d) => parseDigest(text(d))),
    run: {
      user: text(run["User"]),
      env: list(run["Env"]).map(text),
      entrypoint: list(run["Entrypoint"]).map(text),
      cmd: list(run["Cmd"]).map(text),
      workingDir: text(run["WorkingDir"]),
      stopSignal: text(run["StopSignal"]),
    },
    labels: new Map(Object.entries(record(run["Labels"])).map(([k, v]) => [k, text(v)])),
    platform: { os: text(image["os"]), architecture: text(image["architecture"]) },
  };
}

/** Chain id of a list of diff ids (image-spec config.md). */
export function chainIdOf(diffIds: readonly Digest[]): Digest | undefined {
  return chainIds(diffIds, sha256Hex).at(-1);
}

/** The manifest of an index that fits a platform best. */
function bestFor(
  manifests: readonly Record<string, unknown>[],
  platform: Platform,
): Record<string, unknown> | undefined {
  const matcher = matchOnly(platform);
  return manifests
    .map((manifest) => ({ manifest, platform: platformOf(record(manifest["platform"])) }))
    .filter((m) => matcher.match(m.platform))
    .sort((a, b) => matcher.compare(a.platform, b.platform))[0]?.manifest;
}

function platformOf(value: Record<string, unknown>): Platform {
  const variant = text(value["variant"]);
  return {
    os: text(value["os"]),
    architecture: text(value["architecture"]),
    ...(variant === "" ? {} : { variant }),
  };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
