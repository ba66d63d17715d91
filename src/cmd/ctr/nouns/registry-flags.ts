/** Flags of every command that talks to a registry, and other groups that several commands share. */
import type { FlagSpec } from "../../shared/command.ts";

export const registryFlags: readonly FlagSpec[] = [
  { flag: "-k, --skip-verify", about: "skip SSL certificate validation" },
  { flag: "--plain-http", about: "allow connections using plain HTTP" },
  { flag: "-u, --user <user[:password]>", about: "user and password for the registry" },
  { flag: "--refresh <token>", about: "refresh token for the authorization server" },
  { flag: "--hosts-dir <dir>", about: "custom hosts configuration directory" },
  { flag: "--tlscacert <path>", about: "path to TLS root CA" },
  { flag: "--tlscert <path>", about: "path to TLS client certificate" },
  { flag: "--tlskey <path>", about: "path to TLS client key" },
  { flag: "--http-dump", about: "dump all HTTP requests and responses when interacting with the registry" },
  { flag: "--http-trace", about: "enable HTTP tracing for registry interactions" },
];

export const snapshotterFlag: FlagSpec = {
  flag: "--snapshotter <name>",
  about: "snapshotter name; empty value stands for the default value",
  env: "CONTAINERD_SNAPSHOTTER",
};

export const labelFlag: FlagSpec = {
  flag: "--label <key=value>",
  about: "labels to attach to the image",
  many: true,
};

export const platformsFlag: FlagSpec = {
  flag: "--platform <os/arch>",
  about: "content of a specific platform; may be given several times",
  many: true,
};
