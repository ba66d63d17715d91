/** What all commands of ctr share: name, flags before the command. Loaded at every start, so it imports next to nothing. */
import { version } from "../../lib/version.ts";
import type { Tool } from "../shared/command.ts";
import type { GlobalOptions } from "./context.ts";

const BANNER = `
   ________    ____
  / ___/ _ \\  / __/___
 / /__/ // / _\\ \\/ _  \\
 \\___/____/ /___/ .__/
                /_/   gantry ctr
`;

/** The client of containerd's API. */
export const ctr: Tool<GlobalOptions> = {
  name: "ctr",
  about:
    "An unsupported debug and administrative client of the engine: it speaks containerd's API, and its commands, flags and output may change from one release to the next.",
  banner: BANNER,
  version: `ctr gantry ${version}`,
  globals: [
    { flag: "--debug", about: "enable debug output in logs" },
    {
      flag: "-a, --address <path>",
      about: "address of containerd's API socket",
      fallback: "/run/containerd/containerd.sock",
      env: "CONTAINERD_ADDRESS",
    },
    { flag: "--timeout <duration>", about: "total timeout for ctr commands", fallback: "0s" },
    { flag: "--connect-timeout <duration>", about: "timeout for connecting to containerd", fallback: "0s" },
    {
      flag: "-n, --namespace <name>",
      about: "namespace to use with commands",
      fallback: "default",
      env: "CONTAINERD_NAMESPACE",
    },
  ],
  context: async (globals) => new (await import("./context.ts")).GlobalOptions(globals),
  mergeGlobals: true,
};
