import type { CommandSpec } from "../command.ts";
import { registryFlags } from "./registry-flags.ts";

const load = () => import("../verbs/registry.ts");

/** How to reach a registry, without who asks. */
const reach = registryFlags.filter((f) => !/--(user|refresh|http-dump|http-trace)\b/.test(f.flag));

export const registry: CommandSpec = {
  name: "registry",
  about: "log in to registries, and explain how they are reached (not in containerd)",
  commands: [
    {
      name: "login",
      args: "[host]",
      about: "check a name and password with a registry and keep them in docker's config.json",
      flags: [
        { flag: "-u, --username <name>", about: "name; asked for on a terminal" },
        { flag: "--password-stdin", about: "read the password, or the identity token, from stdin" },
        {
          flag: "-p, --password <password>",
          about: "password; other users of this machine can see it in ps",
        },
        { flag: "--identity-token", about: "what is given is an identity token, not a password" },
        ...reach,
        { flag: "--config <path>", about: "configuration of the daemon whose mirrors and TLS files count" },
      ],
      examples: [
        "ctr registry login --username me --password-stdin registry.example:5000 < password-file",
        "ctr registry login registry.example",
      ],
      action: async () => (await load()).login,
    },
    {
      name: "logout",
      args: "[host]",
      about: "forget what login kept",
      action: async () => (await load()).logout,
    },
    {
      name: "check",
      args: "<ref>",
      about: "tell, host by host, what is tried for a reference and what answers",
      flags: [
        ...registryFlags.filter((f) => !/--http-(dump|trace)\b/.test(f.flag)),
        { flag: "--config <path>", about: "configuration of the daemon whose mirrors and TLS files count" },
        { flag: "-o, --output <format>", about: "json for one JSON value" },
      ],
      examples: [
        "ctr registry check registry.example/team/app:v1",
        "ctr registry check registry.example:5000",
      ],
      action: async () => (await load()).check,
    },
  ],
};
