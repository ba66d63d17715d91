import type { CommandSpec } from "../command.ts";

const load = () => import("../verbs/sandboxes.ts");

export const sandboxes: CommandSpec = {
  name: "sandboxes",
  aliases: ["sandbox", "sb", "s"],
  about: "manage sandboxes",
  commands: [
    {
      name: "run",
      aliases: ["create", "c", "r"],
      args: "<pod-config> <id>",
      about: "run a new sandbox",
      flags: [{ flag: "--runtime <name>", about: "runtime name", fallback: "io.containerd.runc.v2" }],
      action: async () => (await load()).run,
    },
    {
      name: "list",
      aliases: ["ls"],
      about: "list sandboxes",
      flags: [{ flag: "--filters <filter>", about: "the list of filters to apply", many: true }],
      action: async () => (await load()).list,
    },
    {
      name: "remove",
      aliases: ["rm"],
      args: "<ids...>",
      about: "remove sandboxes",
      flags: [{ flag: "-f, --force", about: "remove the record even when the sandbox cannot be shut down" }],
      action: async () => (await load()).remove,
    },
    {
      name: "info",
      aliases: ["i"],
      args: "<id>",
      about: "get info about a sandbox",
      action: async () => (await load()).info,
    },
  ],
};
