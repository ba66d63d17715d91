/** Commands about the engine and about this client. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

export const runtime: readonly CommandSpec[] = [
  {
    name: "version",
    about: "show the versions of the engine and of its API",
    action: async () => (await import("../verbs/version.ts")).version,
  },
  {
    name: "info",
    about: "show the state of the engine",
    flags: [
      flags.output("json, yaml, go-template", "json"),
      { flag: "-q, --quiet", about: "without verbose information" },
      flags.template,
    ],
    examples: ["crictl info", "crictl info -q -o yaml"],
    action: async () => (await import("../verbs/runtime.ts")).info,
  },
  {
    name: "events",
    aliases: ["event"],
    about: "show the events of containers as they happen",
    flags: [flags.output("json, yaml, go-template", "json"), flags.template],
    examples: ["crictl events -o go-template --template '{{.containerId}} {{.containerEventType}}'"],
    action: async () => (await import("../verbs/runtime.ts")).events,
  },
  {
    name: "runtime-config",
    about: "show the configuration the engine gives to a kubelet",
    action: async () => (await import("../verbs/runtime.ts")).runtimeConfig,
  },
  {
    name: "update-runtime-config",
    about: "change the configuration of the engine",
    flags: [{ flag: "-p, --pod-cidr <cidr>", about: "range of the pods' addresses" }],
    examples: ["crictl update-runtime-config --pod-cidr 10.244.0.0/24"],
    action: async () => (await import("../verbs/runtime.ts")).updateRuntimeConfig,
  },
  {
    name: "config",
    args: "[key] [value]",
    about:
      "get, set and list options of this client\n\nOptions: runtime-endpoint, image-endpoint, timeout, debug, pull-image-on-create, disable-pull-on-run, max-retries",
    flags: [
      { flag: "--get <key>", about: "show an option" },
      {
        flag: "--set <key=value>",
        about: "set options; several with commas or by giving it again",
        many: true,
      },
      { flag: "--list", about: "show all options" },
    ],
    examples: [
      "crictl config --set debug=true",
      "crictl config debug true",
      "crictl config --get debug",
      "crictl config --list",
    ],
    action: async () => (await import("../verbs/config.ts")).config,
  },
];
