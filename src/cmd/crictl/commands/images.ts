/** Commands about images. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

const filter = {
  flag: "-f, --filter <filter>",
  about: "dangling=true|false, reference=REGEXP, before=IMAGE or since=IMAGE; may be given several times",
  many: true,
};

export const images: readonly CommandSpec[] = [
  {
    name: "images",
    aliases: ["image", "img"],
    args: "[repository]",
    about: "list images",
    flags: [
      { flag: "--digests", about: "show digests" },
      filter,
      flags.noTrunc,
      flags.output("json, yaml, table", "table"),
      { flag: "--pinned", about: "show which images are pinned" },
      { flag: "-q, --quiet", about: "only ids" },
      { flag: "-v, --verbose", about: "show everything" },
    ],
    examples: ["crictl images", "crictl images --digests -f reference=nginx", "crictl images -q"],
    action: async () => (await import("../verbs/images.ts")).images,
  },
  {
    name: "inspecti",
    args: "[ids...]",
    about: "display the status of images",
    flags: [
      filter,
      { flag: "--name <name>", about: "filter by name" },
      flags.output("json, yaml, go-template, table", "json"),
      { flag: "-q, --quiet", about: "without verbose information" },
      flags.template,
    ],
    examples: ["crictl inspecti IMAGE", "crictl inspecti -o go-template --template '{{.status.id}}' IMAGE"],
    action: async () => (await import("../verbs/images.ts")).inspecti,
  },
  {
    name: "rmi",
    args: "[ids...]",
    about: "remove images with all their tags",
    flags: [
      { flag: "-a, --all", about: "remove all images" },
      { flag: "-q, --prune", about: "remove all images that no container uses and that are not pinned" },
    ],
    examples: ["crictl rmi IMAGE", "crictl rmi --prune"],
    action: async () => (await import("../verbs/images.ts")).rmi,
  },
  {
    name: "imagefsinfo",
    about: "show what the file systems of images and containers use",
    flags: [flags.output("json, yaml, go-template, table", "json"), flags.template],
    action: async () => (await import("../verbs/images.ts")).imagefsinfo,
  },
  {
    name: "pull",
    args: "[image]",
    about: "pull an image from a registry",
    flags: [
      { flag: "-a, --annotation <key=value>", about: "annotation of the pulled image", many: true },
      { flag: "--pod-config <file>", about: "pull for the pod in pod-config.[json|yaml]" },
      ...flags.pull,
    ],
    examples: ["crictl pull busybox", "crictl pull --creds user:password registry.example/app:v1"],
    action: async () => (await import("../verbs/pull.ts")).pull,
    commands: [
      {
        name: "jsonschema",
        aliases: ["js"],
        about: "show the JSON schema of pod-config.json",
        action: async () => (await import("../verbs/jsonschema.ts")).podSchema,
      },
    ],
  },
];
