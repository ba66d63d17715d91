/** What all commands of crictl share: name, flags before the command. Loaded at every start, so it imports next to nothing. */
import { version } from "../../lib/version.ts";
import type { Tool } from "../shared/command.ts";
import type { CriContext } from "./context.ts";

/** The client of the Container Runtime Interface. Flags have no fallback here: what was given beats the config file. */
export const crictl: Tool<CriContext> = {
  name: "crictl",
  about: "client for CRI: pods, containers and images of the engine a kubelet uses",
  version: `crictl version gantry ${version}`,
  globals: [
    {
      flag: "-c, --config <file>",
      about:
        'location of the client config file (default: "/etc/crictl.yaml", then crictl.yaml beside the program)',
      env: "CRI_CONFIG_FILE",
    },
    {
      flag: "-r, --runtime-endpoint <url>",
      about: "endpoint of the CRI runtime service (default: the first of the known sockets that answers)",
      env: "CONTAINER_RUNTIME_ENDPOINT",
    },
    {
      flag: "-i, --image-endpoint <url>",
      about: "endpoint of the CRI image service (default: the runtime endpoint)",
      env: "IMAGE_SERVICE_ENDPOINT",
    },
    {
      flag: "-t, --timeout <duration>",
      about: "timeout of calls to the engine, such as 2s or 1m (default: 2s)",
    },
    { flag: "-D, --debug", about: "show what is sent and received" },
    {
      flag: "--max-retries <n>",
      about: "tries to connect to an endpoint that was set; 0 for none, negative for ever (default: 3)",
    },
    { flag: "--enable-tracing", about: "accepted; this client sends no traces", hidden: true },
    { flag: "--tracing-endpoint <address>", about: "accepted and not used", hidden: true },
    { flag: "--tracing-sampling-rate-per-million <n>", about: "accepted and not used", hidden: true },
    { flag: "--profile-cpu <file>", about: "accepted and not used", hidden: true },
    { flag: "--profile-mem <file>", about: "accepted and not used", hidden: true },
  ],
  context: async (globals) => new (await import("./context.ts")).CriContext(globals),
  mergeGlobals: false,
};
