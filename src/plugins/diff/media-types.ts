/** Media types of layers. */
import { notImplemented } from "../../core/errors.ts";

/** An uncompressed layer. */
export const OCI_TAR = "application/vnd.oci.image.layer.v1.tar";

const LAYERS: Readonly<Record<string, "detect" | "none">> = {
  [OCI_TAR]: "none",
  [`${OCI_TAR}+gzip`]: "detect",
  [`${OCI_TAR}+zstd`]: "detect",
  "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
  "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "detect",
  "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "detect",
  // Docker's types never told the compression reliably: the bytes do.
  "application/vnd.docker.image.rootfs.diff.tar": "detect",
  "application/vnd.docker.image.rootfs.diff.tar.gzip": "detect",
  "application/vnd.docker.image.rootfs.diff.tar.zstd": "detect",
  "application/vnd.docker.image.rootfs.foreign.diff.tar": "detect",
  "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "detect",
  "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd": "detect",
};

/** How the bytes of a layer type are read; undefined when it is not a type we unpack. */
export function compressionOf(mediaType: string): "detect" | "none" | undefined {
  return Object.hasOwn(LAYERS, mediaType) ? LAYERS[mediaType] : undefined;
}

/** {@link compressionOf}. @throws not-implemented naming the type */
export function requireCompression(mediaType: string): "detect" | "none" {
  const compression = compressionOf(mediaType);
  if (compression === undefined)
    throw notImplemented(`unpack layer: media type "${mediaType}": no processor for media type`);
  return compression;
}

/** How compare writes a layer type. @throws not-implemented naming the type */
export function outputCompression(mediaType: string): "gzip" | "zstd" | "none" {
  switch (mediaType) {
    case OCI_TAR:
    case "application/vnd.docker.image.rootfs.diff.tar":
      return "none";
    case `${OCI_TAR}+gzip`:
    case "application/vnd.docker.image.rootfs.diff.tar.gzip":
      return "gzip";
    case `${OCI_TAR}+zstd`:
    case "application/vnd.docker.image.rootfs.diff.tar.zstd":
      return "zstd";
    default:
      throw notImplemented(`make layer: unsupported diff media type: ${mediaType}`);
  }
}
