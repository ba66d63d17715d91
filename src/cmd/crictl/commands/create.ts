/** Commands that make pods and containers from files. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

const schemaFlags = [
  { flag: "-p, --pod", about: "the schema of pod-config.json" },
  { flag: "-c, --container", about: "the schema of container-config.json" },
];

const schemas: CommandSpec = {
  name: "jsonschema",
  aliases: ["js"],
  about: "show the JSON schemas of the files",
  flags: schemaFlags,
  action: async () => (await import("../verbs/jsonschema.ts")).jsonschema,
};

const pulling = [
  ...flags.pull,
  flags.cancelTimeout,
  { flag: "--no-pull", about: "do not pull the image (overrides the config file)" },
  { flag: "--with-pull", about: "pull the image first (overrides the config file)" },
];

const runtime = { flag: "-r, --runtime <handler>", about: "runtime handler of the pod" };

export const create: readonly CommandSpec[] = [
  {
    name: "runp",
    args: "[pod-config]",
    about: "run a new pod sandbox",
    flags: [runtime, flags.cancelTimeout],
    examples: ["crictl runp pod-config.yaml", "crictl runp --runtime=kata pod-config.json"],
    action: async () => (await import("../verbs/create.ts")).runp,
    commands: [
      {
        name: "jsonschema",
        aliases: ["js"],
        about: "show the JSON schema of pod-config.json",
        action: async () => (await import("../verbs/jsonschema.ts")).podSchema,
      },
    ],
  },
  {
    name: "create",
    args: "[pod] [container-config] [pod-config]",
    about: "create a new container in a pod",
    flags: pulling,
    examples: ["crictl create POD-ID container-config.yaml pod-config.yaml"],
    action: async () => (await import("../verbs/create.ts")).create,
    commands: [schemas],
  },
  {
    name: "run",
    args: "[container-config] [pod-config]",
    about: "run a new container in a new pod",
    flags: [...pulling, runtime],
    examples: ["crictl run container-config.yaml pod-config.yaml"],
    action: async () => (await import("../verbs/create.ts")).run,
    commands: [schemas],
  },
];
