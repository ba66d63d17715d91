/** Parsed manifests, indexes and configs. Every `parseX` takes bytes that a stranger wrote and either answers or throws. */
import { invalidArgument, messageOf } from "../core/errors.ts";
import { type Digest, parseDigest } from "../core/ids/digest.ts";
import type { Descriptor, Platform } from "../core/oci.ts";
import { lazyAsync } from "../lib/lazy.ts";
import type { DescriptorJson, PlatformJson } from "./descriptors.ts";
import { isConfigType, isIndexType, isManifestType, OCI_INDEX, OCI_MANIFEST } from "./media-types.ts";
import { normalizePlatform } from "./platform.ts";

/** Largest manifest or index, in bytes (the distribution spec's advice). */
export const MAX_MANIFEST = 4 * 1024 * 1024;
/** Largest image config, in bytes. */
export const MAX_CONFIG = 8 * 1024 * 1024;
/** Largest JSON document of an archive, in bytes (containerd's cap). */
export const MAX_ARCHIVE_JSON = 20 * 1024 * 1024;

/** An image manifest. */
export interface Manifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations: ReadonlyMap<string, string>;
  readonly subject: Descriptor | undefined;
}

/** An index (manifest list). */
export interface Index {
  readonly kind: "index";
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations: ReadonlyMap<string, string>;
}

/** An image config: what a container of the image runs by default. */
export interface ImageConfig {
  readonly platform: Platform;
  /** RFC 3339, as written. */
  readonly created: string | undefined;
  readonly author: string | undefined;
  readonly diffIds: readonly Digest[];
  readonly config: {
    readonly user: string;
    readonly env: readonly string[];
    readonly entrypoint: readonly string[];
    readonly cmd: readonly string[];
    readonly workingDir: string;
    readonly labels: ReadonlyMap<string, string>;
    readonly volumes: readonly string[];
    readonly exposedPorts: readonly string[];
    readonly stopSignal: string;
  };
}

/** One image of a docker-save archive. */
export interface DockerArchiveImage {
  readonly config: string;
  readonly repoTags: readonly string[];
  readonly layers: readonly string[];
}

const schemas = lazyAsync(() => import("./schemas.ts"));

/**
 * Parses a manifest or index. `mediaType` is what the descriptor or Content-Type said: a document that says otherwise, or
 * that could be read as both, is refused (S10).
 * @throws invalid-argument
 */
export async function parseManifestOrIndex(bytes: Uint8Array, mediaType: string): Promise<Manifest | Index> {
  const json = parseObject(bytes, MAX_MANIFEST, "manifest");
  const own = typeof json["mediaType"] === "string" ? json["mediaType"] : "";
  const known = isIndexType(mediaType) || isManifestType(mediaType);
  if (!known && !isIndexType(own) && !isManifestType(own))
    throw invalidArgument(`parse manifest: unsupported media type "${mediaType || own}"`);
  const type = known ? mediaType : own;
  if (own !== "" && own !== type)
    throw invalidArgument(`parse manifest: media type "${own}" inside, "${type}" outside`);
  if ("fsLayers" in json) throw invalidArgument("parse manifest: schema 1 fsLayers in a schema 2 manifest");
  if ("manifests" in json && ("layers" in json || "config" in json))
    throw invalidArgument("parse manifest: both manifests and layers or config: ambiguous");
  return isIndexType(type) ? index(json, type) : manifest(json, type);
}

async function manifest(json: object, mediaType: string): Promise<Manifest> {
  const { manifestSchema } = await schemas();
  const doc = check(manifestSchema.safeParse(json), "manifest");
  return {
    kind: "manifest",
    mediaType: mediaType || OCI_MANIFEST,
    artifactType: doc.artifactType,
    config: toDescriptor(doc.config),
    layers: doc.layers.map(toDescriptor),
    annotations: toMap(doc.annotations),
    subject: doc.subject === undefined || doc.subject === null ? undefined : toDescriptor(doc.subject),
  };
}

async function index(json: object, mediaType: string): Promise<Index> {
  const { indexSchema } = await schemas();
  const doc = check(indexSchema.safeParse(json), "index");
  return {
    kind: "index",
    mediaType: mediaType || OCI_INDEX,
    manifests: doc.manifests.map(toDescriptor),
    annotations: toMap(doc.annotations),
  };
}

/** Parses an `index.json` of an OCI layout, whose media type is often missing. @throws invalid-argument */
export async function parseLayoutIndex(bytes: Uint8Array): Promise<Index> {
  const json = parseObject(bytes, MAX_ARCHIVE_JSON, "index.json");
  if ("layers" in json || "config" in json)
    throw invalidArgument("parse index.json: both manifests and layers or config: ambiguous");
  return index(json, OCI_INDEX);
}

/** Parses an image config. @throws invalid-argument */
export async function parseImageConfig(bytes: Uint8Array): Promise<ImageConfig> {
  const { configSchema } = await schemas();
  const doc = check(configSchema.safeParse(parseObject(bytes, MAX_CONFIG, "image config")), "image config");
  const c = doc.config ?? {};
  return {
    platform: normalizePlatform(toPlatform(doc)),
    created: doc.created ?? undefined,
    author: doc.author ?? undefined,
    diffIds: (doc.rootfs.diff_ids ?? []).map(parseDigest),
    config: {
      user: c.User ?? "",
      env: c.Env ?? [],
      entrypoint: c.Entrypoint ?? [],
      cmd: c.Cmd ?? [],
      workingDir: c.WorkingDir ?? "",
      labels: toMap(c.Labels),
      volumes: Object.keys(c.Volumes ?? {}),
      exposedPorts: Object.keys(c.ExposedPorts ?? {}),
      stopSignal: c.StopSignal ?? "",
    },
  };
}

/** Parses `manifest.json` of a docker-save archive. @throws invalid-argument */
export async function parseDockerArchive(bytes: Uint8Array): Promise<DockerArchiveImage[]> {
  const { dockerArchiveSchema } = await schemas();
  const doc = check(
    dockerArchiveSchema.safeParse(parseJson(bytes, MAX_ARCHIVE_JSON, "manifest.json")),
    "manifest.json",
  );
  return doc.map((i) => ({ config: i.Config, repoTags: i.RepoTags ?? [], layers: i.Layers ?? [] }));
}

/** What a manifest or index points at, in containerd's order: config first. */
export function childrenOf(doc: Manifest | Index): readonly Descriptor[] {
  return doc.kind === "index" ? doc.manifests : [doc.config, ...doc.layers];
}

/** True when the manifest is an image with a root filesystem (not an artifact or attestation). */
export function isImageManifest(doc: Manifest): boolean {
  return isConfigType(doc.config.mediaType);
}

/** JSON value of UTF-8 bytes. @throws invalid-argument when too large or not JSON */
export function parseJson(bytes: Uint8Array, max: number, what: string): unknown {
  if (bytes.byteLength > max)
    throw invalidArgument(`parse ${what}: ${bytes.byteLength} bytes, larger than ${max}`);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch (err) {
    throw invalidArgument(`parse ${what}: ${messageOf(err)}`, { cause: err });
  }
}

function parseObject(bytes: Uint8Array, max: number, what: string): Record<string, unknown> {
  const json = parseJson(bytes, max, what);
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw invalidArgument(`parse ${what}: not a JSON object`);
  return json as Record<string, unknown>;
}

type Parsed<T> =
  | { readonly success: true; readonly data: T }
  | {
      readonly success: false;
      readonly error: {
        readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[];
      };
    };

function check<T>(result: Parsed<T>, what: string): T {
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where =
    issue === undefined || issue.path.length === 0 ? "" : ` at ${issue.path.map(String).join(".")}`;
  throw invalidArgument(`parse ${what}${where}: ${issue?.message ?? "invalid"}`);
}

type Loose<T> = { readonly [K in keyof T]?: T[K] | null | undefined };

function toDescriptor(
  d: Loose<Omit<DescriptorJson, "platform">> & {
    readonly digest: string;
    readonly size: number;
    readonly mediaType: string;
    readonly platform?: (Loose<PlatformJson> & { os: string; architecture: string }) | null | undefined;
  },
): Descriptor {
  return {
    mediaType: d.mediaType,
    digest: parseDigest(d.digest),
    size: BigInt(d.size),
    ...(d.annotations ? { annotations: toMap(d.annotations) } : {}),
    ...(d.urls && d.urls.length > 0 ? { urls: d.urls } : {}),
    ...(d.platform ? { platform: toPlatform(d.platform) } : {}),
    ...(d.data ? { data: new Uint8Array(Buffer.from(d.data, "base64")) } : {}),
  };
}

function toPlatform(p: Loose<PlatformJson> & { os: string; architecture: string }): Platform {
  return {
    os: p.os,
    architecture: p.architecture,
    ...(p.variant ? { variant: p.variant } : {}),
    ...(p["os.version"] ? { osVersion: p["os.version"] } : {}),
    ...(p["os.features"] && p["os.features"].length > 0 ? { osFeatures: p["os.features"] } : {}),
  };
}

function toMap(record: Readonly<Record<string, string>> | null | undefined): ReadonlyMap<string, string> {
  return new Map(Object.entries(record ?? {}));
}
