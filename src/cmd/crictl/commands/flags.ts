/** Flags that several commands have. */
import type { FlagSpec } from "../../shared/command.ts";

export const template: FlagSpec = {
  flag: "--template <template>",
  about: "Go template for --output go-template",
};
export const latest: FlagSpec = {
  flag: "-l, --latest",
  about: "the most recently created one, whatever its state",
};
export const last: FlagSpec = {
  flag: "-n, --last <n>",
  about: "the last n created ones, whatever their state (0 for all)",
};
export const label: FlagSpec = { flag: "--label <key=value>", about: "filter by label", many: true };
export const noTrunc: FlagSpec = { flag: "--no-trunc", about: "show whole ids" };
export const podNamespace: FlagSpec = {
  flag: "--namespace <regexp>",
  about: "filter by the pod's namespace",
};

/** `-o`, with the formats of a command. */
export function output(formats: string, fallback?: string): FlagSpec {
  const about = `output format: ${formats}${fallback === undefined ? "" : ` (default: ${fallback})`}`;
  return { flag: "-o, --output <format>", about };
}

/** How streams reach the engine. */
export const transport: readonly FlagSpec[] = [
  { flag: "-r, --transport <protocol>", about: "spdy or websocket (default: spdy)" },
  { flag: "--tls-ca <file>", about: "CA certificate of the streaming server" },
  { flag: "--tls-cert <file>", about: "client certificate for the streaming server" },
  { flag: "--tls-key <file>", about: "its key" },
  { flag: "--tls-sni <name>", about: "name that the server's certificate must have (default: localhost)" },
  { flag: "--tls-server-name <name>", about: "the same", hidden: true },
];

/** Credentials and limits of a pull. */
export const pull: readonly FlagSpec[] = [
  { flag: "--auth <base64>", about: "credentials as base64 of USER:PASSWORD", env: "CRICTL_AUTH" },
  { flag: "--creds <user:password>", about: "credentials", env: "CRICTL_CREDS" },
  { flag: "-u, --username <name>", about: "user name; the password is asked for" },
  {
    flag: "--pull-timeout <duration>",
    about: "longest time of the pull, such as 10s or 1m20s",
    env: "CRICTL_PULL_TIMEOUT",
  },
  { flag: "--pt <duration>", about: "the same", hidden: true },
];

export const cancelTimeout: FlagSpec = {
  flag: "-T, --cancel-timeout <duration>",
  about: "how long to wait for the engine before giving up (default: --timeout)",
};
