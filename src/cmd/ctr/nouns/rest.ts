/** Commands that are not about one kind of stored object. */
import type { CommandSpec } from "../command.ts";
import { pprof } from "./pprof.ts";
import { sandboxes } from "./sandboxes.ts";
import { shim } from "./shim.ts";

export const rest: readonly CommandSpec[] = [
  {
    name: "version",
    about: "print the client and server versions",
    action: async () => (await import("../verbs/version.ts")).version,
  },
  {
    name: "info",
    about: "print the server info",
    action: async () => (await import("../verbs/version.ts")).info,
  },
  {
    name: "plugins",
    aliases: ["plugin"],
    about: "provides information about containerd plugins",
    commands: [
      {
        name: "list",
        aliases: ["ls"],
        args: "[filters...]",
        about: "lists containerd plugins",
        flags: [
          { flag: "-q, --quiet", about: "print only the plugin ids" },
          { flag: "-d, --detailed", about: "print detailed information about each plugin" },
        ],
        examples: ["ctr plugins ls", "ctr plugins ls type==io.containerd.snapshotter.v1"],
        action: async () => (await import("../verbs/plugins.ts")).list,
      },
      {
        name: "inspect-runtime",
        about: "inspect runtime info",
        flags: [
          {
            flag: "--runtime <name>",
            about: "runtime name or absolute path to runtime binary",
            fallback: "io.containerd.runc.v2",
          },
          { flag: "--runtime-config-path <path>", about: "optional runtime config path" },
          { flag: "--runc-binary <path>", about: "specify runc-compatible binary" },
          { flag: "--runc-root <dir>", about: "specify runc-compatible root" },
          { flag: "--runc-systemd-cgroup", about: "start runc with systemd cgroup manager" },
        ],
        action: async () => (await import("../verbs/plugins.ts")).inspectRuntime,
      },
    ],
  },
  {
    name: "events",
    aliases: ["event"],
    args: "[filters...]",
    about: "display containerd events",
    examples: ["ctr events", "ctr events 'topic~=/tasks/'"],
    action: async () => (await import("../verbs/events.ts")).events,
  },
  {
    name: "oci",
    about: "OCI tools",
    commands: [
      {
        name: "spec",
        about: "see the output of the default OCI spec",
        flags: [{ flag: "--platform <os/arch>", about: "platform of the spec" }],
        action: async () => (await import("../verbs/oci.ts")).spec,
      },
    ],
  },
  {
    name: "deprecations",
    about: "deprecation warnings of the server",
    commands: [
      {
        name: "list",
        about: "print deprecation warnings",
        flags: [{ flag: "--format <format>", about: "output format: json, or empty for a table" }],
        action: async () => (await import("../verbs/version.ts")).deprecations,
      },
    ],
  },
  pprof,
  sandboxes,
  shim,
  {
    name: "install",
    args: "<ref>",
    about: "install the programs of an image into the engine's folder",
    flags: [
      { flag: "-l, --libs", about: "install libs from the image" },
      { flag: "-r, --replace", about: "replace any binaries or libs in the opt directory" },
      { flag: "--path <dir>", about: "set an optional install path other than the managed opt directory" },
    ],
    examples: ["ctr install --replace registry.example/shims/kata:3"],
    action: async () => (await import("../verbs/install.ts")).install,
  },
  {
    name: "delete",
    args: "<refs...>",
    about: "remove images by reference (short for images delete)",
    flags: [{ flag: "--sync", about: "synchronously remove content" }],
    examples: ["ctr -n k8s.io delete registry.example/library/nginx:1.21.6"],
    action: async () => (await import("../verbs/images.ts")).removeShort,
  },
];
