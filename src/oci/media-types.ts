/** Media types of the OCI image spec and of Docker's schema 2, and what each means to the engine. */

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_EMPTY = "application/vnd.oci.empty.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
export const OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
export const OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
/** A layer that is an EROFS image, as containerd 2.3 names it; `+zstd` when it is compressed as a whole. */
export const EROFS_LAYER = "application/vnd.erofs.layer.v1";
const OCI_LAYER_NONDIST = "application/vnd.oci.image.layer.nondistributable.v1.tar";

export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
export const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
export const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
export const DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";
export const DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd";
const DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/** `Accept` of a manifest request, most wanted first. */
export const MANIFEST_ACCEPT: readonly string[] = [
  DOCKER_MANIFEST,
  DOCKER_LIST,
  OCI_MANIFEST,
  OCI_INDEX,
  "*/*",
];

/** A media type without parameters. */
export function baseMediaType(value: string): string {
  const end = value.indexOf(";");
  return (end < 0 ? value : value.slice(0, end)).trim();
}

/** True for an OCI index or a Docker manifest list. */
export function isIndexType(type: string): boolean {
  return type === OCI_INDEX || type === DOCKER_LIST;
}

/** True for an OCI or Docker image manifest. */
export function isManifestType(type: string): boolean {
  return type === OCI_MANIFEST || type === DOCKER_MANIFEST;
}

/** True for an image config. */
export function isConfigType(type: string): boolean {
  return type === OCI_CONFIG || type === DOCKER_CONFIG;
}

/** True for a layer that is an EROFS image: it is mounted as it is, and its digest without compression is its diff id. */
export function isErofsLayer(type: string): boolean {
  return /^application\/vnd\.erofs(\.|$|\+)/.test(type) || /\.erofs(\+zstd)?$/.test(type);
}

/** True for a layer: a tar in some compression, distributable or not, or a file system's image. */
export function isLayerType(type: string): boolean {
  return (
    isErofsLayer(type) ||
    type.startsWith("application/vnd.oci.image.layer.") ||
    type.startsWith(DOCKER_LAYER) ||
    type.startsWith(DOCKER_LAYER_FOREIGN)
  );
}

const PLAIN_LAYER =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?)$/;

/** True for a layer that is a tar, plain or in a compression we know: nothing but ourselves is needed to read it. */
export function isPlainLayer(type: string): boolean {
  return PLAIN_LAYER.test(type);
}

/** True for a layer that registries are not given (Docker "foreign" and OCI "nondistributable" layers). */
export function isNonDistributable(type: string): boolean {
  return type.startsWith(OCI_LAYER_NONDIST) || type.startsWith(DOCKER_LAYER_FOREIGN);
}

/** True for a layer without compression. */
export function isUncompressedLayer(type: string): boolean {
  return isLayerType(type) && !type.includes("+") && !type.endsWith(".gzip") && !type.endsWith(".zstd");
}

/**
 * First part of an ingest ref, as containerd names them: `index`, `manifest`, `layer`, `config`, `attestation`, `unknown`.
 * Users see these in `ctr content active` and in progress lines.
 */
export function refPrefix(type: string): string {
  if (isIndexType(type)) return "index";
  if (isManifestType(type)) return "manifest";
  if (isConfigType(type)) return "config";
  if (isLayerType(type)) return "layer";
  if (type === "application/vnd.in-toto+json") return "attestation";
  return "unknown";
}
