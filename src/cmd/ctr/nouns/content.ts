import type { CommandSpec } from "../command.ts";
import { platformsFlag, registryFlags } from "./registry-flags.ts";

const load = () => import("../verbs/content.ts");
const loadRemote = () => import("../verbs/content-remote.ts");

export const content: CommandSpec = {
  name: "content",
  about: "manage content",
  commands: [
    {
      name: "active",
      args: "[regexp]",
      about: "display active transfers",
      flags: [
        {
          flag: "-t, --timeout <duration>",
          about: "total timeout for fetch",
          env: "CONTAINERD_FETCH_TIMEOUT",
        },
        { flag: "--root <dir>", about: "path to content store root", fallback: "/tmp/content" },
      ],
      action: async () => (await load()).active,
    },
    {
      name: "delete",
      aliases: ["del", "remove", "rm"],
      args: "<digests...>",
      about: "permanently delete one or more blobs",
      action: async () => (await load()).remove,
    },
    {
      name: "edit",
      args: "<digest>",
      about: "edit a blob and return a new digest",
      flags: [
        {
          flag: "--validate <schema>",
          about: "validate the result against a format (json, mediatype, etc.)",
        },
        { flag: "--editor <command>", about: "select editor (vim, emacs, etc.)", env: "EDITOR" },
      ],
      action: async () => (await load()).edit,
    },
    {
      name: "fetch",
      args: "<remote> [object]",
      about: "fetch all content for an image into containerd",
      flags: [
        ...registryFlags,
        { flag: "--label <key=value>", about: "labels to attach to the image", many: true },
        { ...platformsFlag, about: "pull content from a specific platform" },
        { flag: "--all-platforms", about: "pull content from all platforms" },
        { flag: "--skip-metadata", about: "skips metadata fetching of platforms that are not pulled" },
        { flag: "--metadata-only", about: "pull all metadata including manifests and configs" },
      ],
      action: async () => (await loadRemote()).fetch,
    },
    {
      name: "fetch-object",
      args: "<remote> [object] [hints...]",
      about: "retrieve objects from a remote",
      flags: registryFlags,
      action: async () => (await loadRemote()).fetchObject,
    },
    {
      name: "fetch-blob",
      args: "<remote> <digests...>",
      about: "retrieve blobs from a remote",
      flags: [...registryFlags, { flag: "--media-type <type>", about: "media type of the blobs" }],
      action: async () => (await loadRemote()).fetchBlob,
    },
    {
      name: "get",
      args: "<digest>",
      about: "get the data for an object",
      action: async () => (await load()).get,
    },
    {
      name: "ingest",
      args: "<key>",
      about: "accept content into the store from stdin",
      flags: [
        { flag: "--expected-size <bytes>", about: "validate against provided size" },
        { flag: "--expected-digest <digest>", about: "verify content against expected digest" },
      ],
      examples: ["ctr content ingest mykey --expected-digest sha256:... < blob"],
      action: async () => (await load()).ingest,
    },
    {
      name: "list",
      aliases: ["ls"],
      args: "[filters...]",
      about: "list all blobs in the store",
      flags: [{ flag: "-q, --quiet", about: "print only the blob digest" }],
      action: async () => (await load()).list,
    },
    {
      name: "push-object",
      args: "<remote> <object> <type>",
      about: "push an object to a remote",
      flags: registryFlags,
      action: async () => (await loadRemote()).pushObject,
    },
    {
      name: "label",
      args: "<digest> [labels...]",
      about: "add labels to content",
      action: async () => (await load()).label,
    },
    {
      name: "prune",
      about: "prunes content from the content store",
      commands: [
        {
          name: "references",
          about: "prunes preference labels from the content store (layers only by default)",
          flags: [
            { flag: "--async", about: "allow garbage collection to cleanup asynchronously" },
            { flag: "--dry", about: "just show updates without applying (enables debug logging)" },
          ],
          action: async () => (await load()).pruneReferences,
        },
      ],
    },
  ],
};
