/** Where a daemon keeps its things: asked of the running one, else of its configuration file. */
import { introspectionClient } from "../../client/introspection.ts";
import { Call } from "../../core/call.ts";
import { commandLineOf } from "../../platform/process/proc.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { type DaemonFlags, DEFAULT_CONFIG, parseFlags } from "../daemon/flags.ts";

/** Folders and sockets of a daemon. */
export interface DaemonPlaces {
  readonly root: string;
  readonly state: string;
  readonly debugSocket: string;
}

/** What the user said; what is missing is found out. */
export interface GivenPlaces {
  readonly config?: string | undefined;
  readonly root?: string | undefined;
  readonly state?: string | undefined;
  readonly debugSocket?: string | undefined;
}

const DEFAULT_DEBUG_SOCKET = "/run/containerd/debug.sock";
/** Longest time the daemon may take to tell its pid. Milliseconds. */
const ANSWER_MS = 5_000;

/** The places of the daemon at an address: flags given here, then its own command line, then its file. */
export async function placesOf(address: string, given: GivenPlaces): Promise<DaemonPlaces> {
  const own = given.config === undefined ? await flagsOfDaemon(address) : undefined;
  const [{ loadConfig }, { topLevel }] = await Promise.all([
    import("../daemon/config/load.ts"),
    import("../daemon/config/schema.ts"),
  ]);
  let settings: Record<string, unknown> = {};
  try {
    settings = loadConfig(given.config ?? own?.config ?? DEFAULT_CONFIG, false, {}).settings;
  } catch {
    // what is wrong with the file is `containerd config check`'s to say
  }
  const of = (name: "root" | "state"): string => String(settings[name] ?? topLevel[name]);
  return {
    root: given.root ?? own?.root ?? of("root"),
    state: given.state ?? own?.state ?? of("state"),
    debugSocket: given.debugSocket ?? (debugAddress(settings) || DEFAULT_DEBUG_SOCKET),
  };
}

/** Flags of the daemon that answers; undefined when none does, or its process is not of this host's view. */
async function flagsOfDaemon(address: string): Promise<DaemonFlags | undefined> {
  const transport = createGrpcTransport({ path: address });
  try {
    const { pid } = await introspectionClient(transport).server(new Call({}).within(ANSWER_MS));
    const [program = "", ...args] = commandLineOf(pid) ?? [];
    // by its own name, or as a mode of the executable or of a runtime that runs the source
    if (/(^|\/)containerd$/.test(program)) return parseFlags(args);
    const mode = args.indexOf("daemon");
    return mode < 0 ? undefined : parseFlags(args.slice(mode + 1));
  } catch {
    return undefined;
  } finally {
    await transport.close();
  }
}

function debugAddress(settings: Readonly<Record<string, unknown>>): string {
  const plugins = settings["plugins"];
  if (typeof plugins !== "object" || plugins === null) return "";
  const table = (plugins as Readonly<Record<string, unknown>>)["io.containerd.server.v1.debug"];
  const address = typeof table === "object" && table !== null && "address" in table ? table.address : "";
  return typeof address === "string" ? address : "";
}
