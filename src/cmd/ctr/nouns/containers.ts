import type { CommandSpec } from "../command.ts";
import { containerFlags } from "./container-flags.ts";

const load = () => import("../verbs/containers.ts");

export const containers: CommandSpec = {
  name: "containers",
  aliases: ["c", "container"],
  about: "manage containers",
  commands: [
    {
      name: "create",
      args: "<image-or-rootfs> [container] [command...]",
      about: "create container",
      flags: containerFlags,
      passThrough: true,
      examples: ["ctr containers create localhost:5000/busybox:latest web sleep 60"],
      action: async () => (await load()).create,
    },
    {
      name: "delete",
      aliases: ["del", "remove", "rm"],
      args: "[containers...]",
      about: "delete one or more existing containers",
      flags: [{ flag: "--keep-snapshot", about: "do not clean up snapshot with container" }],
      action: async () => (await load()).remove,
    },
    {
      name: "info",
      args: "<container>",
      about: "get info about a container",
      flags: [{ flag: "--spec", about: "only display the spec" }],
      action: async () => (await load()).info,
    },
    {
      name: "list",
      aliases: ["ls"],
      args: "[filters...]",
      about: "list containers",
      flags: [{ flag: "-q, --quiet", about: "print only the container id" }],
      action: async () => (await load()).list,
    },
    {
      name: "label",
      args: "<container> [labels...]",
      about: "set and clear labels for a container",
      action: async () => (await load()).label,
    },
    {
      name: "checkpoint",
      args: "<container> <ref>",
      about: "checkpoint a container",
      flags: [
        { flag: "--rw", about: "include the rw layer in the checkpoint" },
        { flag: "--image", about: "include the image in the checkpoint" },
        { flag: "--task", about: "checkpoint container task" },
      ],
      action: async () => (await import("../verbs/checkpoint.ts")).checkpoint,
    },
    {
      name: "restore",
      args: "<container> <ref>",
      about: "restore a container from checkpoint",
      flags: [
        { flag: "--rw", about: "restore the rw layer from the checkpoint" },
        { flag: "--live", about: "restore the runtime and memory data from the checkpoint" },
      ],
      action: async () => (await import("../verbs/checkpoint.ts")).restore,
    },
  ],
};
