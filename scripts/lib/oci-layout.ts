/** Builds OCI image layouts and image archives out of tar bytes, for the built-in images and the test fixtures. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { TarWriter } from "./tar-writer.ts";

/** An OCI descriptor, only with the fields used here. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Platform {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
}

/** The `config` object of an image configuration (image-spec config.md), as far as fixtures set it. */
export interface RunConfig {
  readonly User?: string;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

export type Compression = "gzip" | "zstd" | "none";

export interface ImageOptions {
  readonly layers: readonly Uint8Array[];
  readonly config?: RunConfig;
  readonly platform?: Platform;
  readonly compression?: Compression;
}

const AMD64: Platform = { architecture: "amd64", os: "linux" };
const CREATED = "2023-11-14T22:13:20Z";
const MEDIA = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
} as const;
const LAYER: Readonly<Record<Compression, string>> = {
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  none: "application/vnd.oci.image.layer.v1.tar",
};

/** `sha256:<hex>` of the bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A set of blobs with the references that name them; lives in memory until written. */
export class OciLayout {
  readonly #blobs = new Map<string, Uint8Array>();
  readonly #refs = new Map<string, Descriptor>();

  /** Stores bytes and returns their descriptor. */
  blob(mediaType: string, bytes: Uint8Array): Descriptor {
    const digest = digestOf(bytes);
    this.#blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  /** The bytes behind a digest; throws when the layout does not hold them. */
  read(digest: string): Uint8Array {
    const bytes = this.#blobs.get(digest);
    if (bytes === undefined) throw new Error(`read blob "${digest}": not in this layout`);
    return bytes;
  }

  /** Stores an image of uncompressed layer tars and returns its manifest's descriptor, with the platform. */
  image(options: ImageOptions): Descriptor {
    const platform = options.platform ?? AMD64;
    const compression = options.compression ?? "gzip";
    const layers = options.layers.map((tar) => this.blob(LAYER[compression], compress(tar, compression)));
    const config = this.#json(MEDIA.config, {
      ...platform,
      created: CREATED,
      config: options.config ?? {},
      rootfs: { type: "layers", diff_ids: options.layers.map(digestOf) },
      history: options.layers.map((_, i) => ({ created: CREATED, created_by: `layer ${i + 1}` })),
    });
    const manifest = { schemaVersion: 2, mediaType: MEDIA.manifest, config, layers };
    return { ...this.#json(MEDIA.manifest, manifest), platform };
  }

  /** Stores an index over several images. */
  index(manifests: readonly Descriptor[]): Descriptor {
    return this.#json(MEDIA.index, { schemaVersion: 2, mediaType: MEDIA.index, manifests });
  }

  /** Names a manifest or index; the name becomes the `org.opencontainers.image.ref.name` annotation. */
  tag(name: string, target: Descriptor): void {
    this.#refs.set(name, target);
  }

  /** All names, in the order they were given. */
  tags(): ReadonlyMap<string, Descriptor> {
    return this.#refs;
  }

  /** Writes the layout into a directory, which may hold one already: blobs that are there are kept. */
  write(dir: string): void {
    mkdirSync(join(dir, "blobs/sha256"), { recursive: true });
    for (const [digest, bytes] of this.#blobs) {
      const path = join(dir, "blobs/sha256", digest.slice(7));
      if (!existsSync(path)) writeFileSync(path, bytes);
    }
    writeFileSync(join(dir, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    const manifests = [...this.#refs].map(([name, target]) => named(target, name, name));
    writeFileSync(join(dir, "index.json"), indexJson(manifests));
  }

  /**
   * One image as an archive that both OCI and Docker tools load: an OCI layout plus Docker's `manifest.json`. `imageName` is
   * the full name (`host/repo:tag`) the importing engine should give it. Docker's part is left out for an index.
   */
  archive(tag: string, imageName: string): Buffer {
    const target = this.#refs.get(tag);
    if (target === undefined) throw new Error(`archive image "${tag}": no such tag in the layout`);
    const tar = new TarWriter().dir("blobs").dir("blobs/sha256");
    const wanted = [...this.#reachable(target)].sort();
    for (const digest of wanted) tar.file(`blobs/sha256/${digest.slice(7)}`, this.read(digest));
    const short = imageName.slice(imageName.lastIndexOf(":") + 1);
    tar.file("index.json", indexJson([named(target, short, imageName)]));
    if (target.mediaType === MEDIA.manifest) {
      const manifest = parseManifest(this.read(target.digest));
      const path = (d: Descriptor): string => `blobs/sha256/${d.digest.slice(7)}`;
      const docker = [
        { Config: path(manifest.config), RepoTags: [imageName], Layers: manifest.layers.map(path) },
      ];
      tar.file("manifest.json", JSON.stringify(docker));
    }
    tar.file("oci-layout", '{"imageLayoutVersion":"1.0.0"}');
    return tar.finish();
  }

  /** Digests of everything a descriptor refers to, itself included. */
  #reachable(target: Descriptor): Set<string> {
    const out = new Set([target.digest]);
    if (target.mediaType === MEDIA.index) {
      const index = JSON.parse(text(this.read(target.digest))) as { manifests: Descriptor[] };
      for (const child of index.manifests) for (const d of this.#reachable(child)) out.add(d);
    } else if (target.mediaType === MEDIA.manifest) {
      const manifest = parseManifest(this.read(target.digest));
      for (const d of [manifest.config, ...manifest.layers]) out.add(d.digest);
    }
    return out;
  }

  #json(mediaType: string, value: object): Descriptor {
    return this.blob(mediaType, Buffer.from(JSON.stringify(value)));
  }
}

/** Reads the names of a layout on disk: tag to descriptor. */
export function readLayoutTags(dir: string): Map<string, Descriptor> {
  const index = JSON.parse(readFileSync(join(dir, "index.json"), "utf8")) as { manifests: Descriptor[] };
  const out = new Map<string, Descriptor>();
  for (const d of index.manifests) {
    const name = d.annotations?.["org.opencontainers.image.ref.name"];
    if (name !== undefined) out.set(name, d);
  }
  return out;
}

function compress(tar: Uint8Array, how: Compression): Uint8Array {
  if (how === "none") return tar;
  return how === "gzip" ? gzipSync(tar, { level: 6 }) : zstdCompressSync(tar);
}

function named(target: Descriptor, short: string, full: string): Descriptor {
  const annotations = { "io.containerd.image.name": full, "org.opencontainers.image.ref.name": short };
  return { ...target, annotations };
}

function indexJson(manifests: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests });
}

function parseManifest(bytes: Uint8Array): { config: Descriptor; layers: Descriptor[] } {
  return JSON.parse(text(bytes)) as { config: Descriptor; layers: Descriptor[] };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
