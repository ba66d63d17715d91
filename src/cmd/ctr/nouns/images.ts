import type { CommandSpec } from "../command.ts";
import { labelFlag, platformsFlag, registryFlags, snapshotterFlag } from "./registry-flags.ts";

const load = () => import("../verbs/images.ts");
const loadArchives = () => import("../verbs/images-archive.ts");
const loadMount = () => import("../verbs/images-mount.ts");

export const images: CommandSpec = {
  name: "images",
  aliases: ["image", "i"],
  about: "manage images",
  commands: [
    {
      name: "check",
      args: "[filters...]",
      about: "check existing images to ensure all content is available locally",
      flags: [
        { flag: "-q, --quiet", about: "print only the ready image refs (fully downloaded and unpacked)" },
        snapshotterFlag,
      ],
      action: async () => (await import("../verbs/images-check.ts")).check,
    },
    {
      name: "export",
      args: "<out> <images...>",
      about: 'export images to a tar archive ("-" writes to stdout)',
      flags: [
        { flag: "--skip-manifest-json", about: "do not add Docker compatible manifest.json to the archive" },
        { flag: "--skip-non-distributable", about: "do not add non-distributable blobs to the archive" },
        { ...platformsFlag, about: "exports content from specific platforms" },
        { flag: "--all-platforms", about: "exports content from all platforms" },
        { flag: "--local", about: "run the export in the client rather than through the transfer service" },
      ],
      examples: [
        "ctr -n k8s.io images export nginx.tar localhost:5000/library/nginx:1.21.6",
        "ctr images export - localhost:5000/busybox:latest | docker load",
      ],
      action: async () => (await loadArchives()).exportImages,
    },
    {
      name: "import",
      args: "<in>",
      about: 'import images from a tar archive of Docker or OCI layout ("-" reads from stdin)',
      flags: [
        {
          flag: "--base-name <name>",
          about: "base image name for added images, only images of it are imported",
        },
        { flag: "--digests", about: "whether to create digest images (default: false)" },
        {
          flag: "--skip-digest-for-named",
          about: "skip applying --digests option to images named in the importing tar",
        },
        { flag: "--index-name <name>", about: "image name to keep index as, by default index is discarded" },
        { flag: "--all-platforms", about: "imports content for all platforms, false by default" },
        { flag: "--platform <os/arch>", about: "imports content for specific platform" },
        { flag: "--no-unpack", about: "skip unpacking the images" },
        { flag: "--local", about: "run the import in the client rather than through the transfer service" },
        {
          flag: "--compress-blobs",
          about: "compress uncompressed blobs when creating manifest (Docker format only)",
        },
        {
          flag: "--discard-unpacked-layers",
          about: "allow the garbage collector to clean layers up from the content store after unpacking",
        },
        {
          flag: "--sync-fs",
          about: "synchronize the underlying filesystem containing files when unpack images",
        },
        snapshotterFlag,
        labelFlag,
      ],
      examples: ["ctr -n k8s.io images import nginx.tar", "docker save nginx | ctr images import -"],
      action: async () => (await loadArchives()).importImages,
    },
    {
      name: "inspect",
      aliases: ["i"],
      args: "<image>",
      about: "inspect an image",
      flags: [
        { flag: "--content", about: "show JSON content" },
        { flag: "-o, --output <format>", about: "json for the image with its documents as one JSON value" },
      ],
      action: async () => (await import("../verbs/images-inspect.ts")).inspect,
    },
    {
      name: "list",
      aliases: ["ls"],
      args: "[filters...]",
      about: "list images known to containerd",
      flags: [{ flag: "-q, --quiet", about: "print only the image refs" }],
      examples: ["ctr images ls", "ctr -n k8s.io images ls -q", "ctr images ls name~=nginx"],
      action: async () => (await load()).list,
    },
    {
      name: "mount",
      args: "<ref> [target]",
      about: "mount an image to a target path",
      flags: [
        ...registryFlags,
        snapshotterFlag,
        labelFlag,
        { flag: "--rw", about: "enable write support on the mount" },
        { flag: "--platform <os/arch>", about: "mount the image for the specified platform" },
        {
          flag: "--sync-fs",
          about: "synchronize the underlying filesystem containing files when unpack images",
        },
        {
          flag: "-x, --expiration <duration>",
          about: "how long the lease holds the snapshot",
          fallback: "1h0m0s",
        },
      ],
      action: async () => (await loadMount()).mount,
    },
    {
      name: "unmount",
      args: "<target>",
      about: "unmount the image from the target",
      flags: [
        ...registryFlags,
        snapshotterFlag,
        labelFlag,
        { flag: "--rm", about: "remove the snapshot after a successful unmount" },
      ],
      action: async () => (await loadMount()).unmount,
    },
    {
      name: "pull",
      args: "<ref>",
      about: "pull an image from a remote",
      flags: [
        ...registryFlags,
        snapshotterFlag,
        labelFlag,
        { ...platformsFlag, about: "pull content from a specific platform" },
        { flag: "--all-platforms", about: "pull content and metadata from all platforms" },
        { flag: "--skip-metadata", about: "skips metadata fetching of platforms that are not pulled" },
        { flag: "--print-chainid", about: "print the resulting image's chain ID" },
        {
          flag: "--max-concurrent-downloads <number>",
          about: "set the max concurrent downloads for each pull",
        },
        { flag: "--local", about: "fetch content from the client rather than through the transfer service" },
        {
          flag: "--discard-unpacked-layers",
          about: "let garbage collection take the layers once they are unpacked (not in containerd)",
        },
        {
          flag: "--sync-fs",
          about: "synchronize the underlying filesystem containing files when unpack images",
        },
      ],
      examples: [
        "ctr images pull localhost:5000/library/nginx:alpine",
        "ctr images pull --plain-http -u user:secret registry.example/app:v1",
      ],
      action: async () => (await import("../verbs/images-pull.ts")).pull,
    },
    {
      name: "push",
      args: "<remote> [local]",
      about: "push an image to a remote",
      flags: [
        ...registryFlags,
        { flag: "--manifest <digest>", about: "digest of manifest" },
        {
          flag: "--manifest-type <type>",
          about: "media type of manifest digest",
          fallback: "application/vnd.oci.image.manifest.v1+json",
        },
        { ...platformsFlag, about: "push content from a specific platform" },
        {
          flag: "--max-concurrent-uploaded-layers <number>",
          about: "set the max concurrent uploaded layers for each push",
        },
        { flag: "--local", about: "push content from the client rather than through the transfer service" },
        {
          flag: "--allow-non-distributable-blobs",
          about: "allow pushing blobs that are marked as non-distributable",
        },
      ],
      action: async () => (await import("../verbs/images-push.ts")).push,
    },
    {
      name: "prune",
      about: "remove unused images",
      flags: [
        {
          flag: "--all",
          about:
            "remove all unused images, not just dangling ones (if all is not specified, only dangling images will be removed)",
        },
      ],
      action: async () => (await load()).prune,
    },
    {
      name: "delete",
      aliases: ["del", "remove", "rm"],
      args: "<refs...>",
      about: "remove one or more images by reference",
      flags: [{ flag: "--sync", about: "synchronously remove image and all associated resources" }],
      action: async () => (await load()).remove,
    },
    {
      name: "tag",
      args: "<source-ref> <target-refs...>",
      about: "tag an image",
      flags: [
        { flag: "--force", about: "force target_ref to be created, regardless if it already exists" },
        { flag: "--local", about: "run the tag in the client rather than through the transfer service" },
        { flag: "--skip-reference-check", about: "skip the strict check for reference names" },
      ],
      action: async () => (await load()).tag,
    },
    {
      name: "label",
      args: "<name> [labels...]",
      about: "set and clear labels for an image",
      flags: [{ flag: "-r, --replace-all", about: "replace all labels" }],
      action: async () => (await load()).label,
    },
    {
      name: "convert",
      args: "<source-ref> <target-ref>",
      about: "convert an image",
      flags: [
        { flag: "--uncompress", about: "convert tar.gz layers to uncompressed tar layers" },
        { flag: "--oci", about: "convert Docker media types to OCI media types" },
        { flag: "--zstd", about: "compress layers with zstd; implies --oci (not in containerd)" },
        { flag: "--erofs <form>", about: "convert layers to EROFS images: raw or zstd; implies --oci" },
        { flag: "--erofs-compressors <list>", about: "compressors of the EROFS layers" },
        { flag: "--erofs-mkfs-options <options>", about: "options of mkfs.erofs" },
        { ...platformsFlag, about: "convert content for a specific platform" },
        { flag: "--all-platforms", about: "convert content for all platforms" },
      ],
      action: async () => (await import("../verbs/images-convert.ts")).convert,
    },
    {
      name: "build-erofs-cache",
      args: "<image-ref> <cache-dir>",
      about: "build EROFS layer blobs of an image into a directory",
      flags: [
        { flag: "--compressors <list>", about: "compressors of the EROFS layers" },
        { flag: "--mkfs-options <options>", about: "options of mkfs.erofs" },
        { flag: "--platform <os/arch>", about: "platform of the image" },
        { flag: "--dmverity", about: "add dm-verity data" },
      ],
      action: async () => (await import("../verbs/images-erofs-cache.ts")).buildErofsCache,
    },
    {
      name: "usage",
      args: "<ref>",
      about: "display usage of snapshots for a given image ref",
      flags: [snapshotterFlag],
      action: async () => (await load()).usage,
    },
  ],
};
