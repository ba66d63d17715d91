import type { CommandSpec } from "../command.ts";

const load = () => import("../verbs/namespaces.ts");

export const namespaces: CommandSpec = {
  name: "namespaces",
  aliases: ["namespace", "ns"],
  about: "manage namespaces",
  commands: [
    {
      name: "create",
      aliases: ["c"],
      args: "<name> [labels...]",
      about: "create a new namespace",
      examples: ["ctr ns create team-a owner=a"],
      action: async () => (await load()).create,
    },
    {
      name: "list",
      aliases: ["ls"],
      about: "list namespaces",
      flags: [{ flag: "-q, --quiet", about: "print only the namespace name" }],
      action: async () => (await load()).list,
    },
    {
      name: "remove",
      aliases: ["rm"],
      args: "<names...>",
      about: "remove one or more namespaces",
      flags: [{ flag: "-c, --cgroup", about: "delete the namespace's cgroup" }],
      action: async () => (await load()).remove,
    },
    {
      name: "label",
      args: "<name> [labels...]",
      about: "set and clear labels for a namespace",
      action: async () => (await load()).label,
    },
  ],
};
