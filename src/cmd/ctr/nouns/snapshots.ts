import type { CommandSpec } from "../command.ts";

const load = () => import("../verbs/snapshots.ts");
const snapshotter = {
  flag: "--snapshotter <name>",
  about: "snapshotter name; empty value stands for the default value",
  env: "CONTAINERD_SNAPSHOTTER",
};
const target = { flag: "-t, --target <path>", about: "mount target path; the mounts are performed there" };
const mounts = { flag: "--mounts", about: "print out the snapshot mounts as mount(8) commands" };

export const snapshots: CommandSpec = {
  name: "snapshots",
  aliases: ["snapshot"],
  about: "manage snapshots",
  flags: [snapshotter],
  commands: [
    {
      name: "commit",
      args: "<key> <active>",
      about: "commit an active snapshot into the provided name",
      action: async () => (await load()).commit,
    },
    {
      name: "diff",
      args: "<idA> [idB]",
      about: "get the diff of two snapshots; the default second one is the first one's parent",
      flags: [
        {
          flag: "--media-type <type>",
          about: "media type of the layer",
          fallback: "application/vnd.oci.image.layer.v1.tar+gzip",
        },
        { flag: "--ref <ref>", about: "content upload reference to use" },
        { flag: "--keep", about: "keep the diff content; up to the creator to delete it" },
        { flag: "--label <key=value>", about: "labels to attach to the diff content", many: true },
      ],
      action: async () => (await load()).diff,
    },
    {
      name: "info",
      args: "<key>",
      about: "get info about a snapshot",
      action: async () => (await load()).info,
    },
    { name: "list", aliases: ["ls"], about: "list snapshots", action: async () => (await load()).list },
    {
      name: "mounts",
      aliases: ["m", "mount"],
      args: "<target> <key>",
      about: "mount gets mount commands for the snapshots",
      flags: [{ flag: "--temp", about: "mount in a temporary folder, print it" }],
      action: async () => (await load()).mounts,
    },
    {
      name: "prepare",
      args: "<key> [parent]",
      about: "prepare a snapshot from a committed snapshot",
      flags: [target, mounts],
      action: async () => (await load()).prepare,
    },
    {
      name: "delete",
      aliases: ["del", "remove", "rm"],
      args: "<keys...>",
      about: "remove snapshots",
      action: async () => (await load()).remove,
    },
    {
      name: "label",
      args: "<name> [labels...]",
      about: "add labels to a snapshot",
      action: async () => (await load()).label,
    },
    {
      name: "tree",
      about: "display tree view of snapshot branches",
      action: async () => (await load()).tree,
    },
    {
      name: "unpack",
      args: "<digest>",
      about: "unpack applies layers from a manifest to a snapshot",
      flags: [
        {
          flag: "--sync-fs",
          about: "synchronize the underlying filesystem containing files when unpack images",
        },
        snapshotter,
      ],
      action: async () => (await load()).unpack,
    },
    {
      name: "usage",
      args: "[keys...]",
      about: "usage snapshots",
      flags: [{ flag: "-b", about: "display size as bytes" }],
      action: async () => (await load()).usage,
    },
    {
      name: "view",
      args: "<key> [parent]",
      about: "create a read-only snapshot from a committed snapshot",
      flags: [target, mounts],
      action: async () => (await load()).view,
    },
  ],
};
