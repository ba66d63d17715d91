/** The daemon's command line: containerd's flags, with one or two dashes (`containerd -version` is in use). */
import { invalidArgument } from "../../core/errors.ts";

/** Parsed command line. */
export interface DaemonFlags {
  readonly config: string;
  /** --config was given: the file must exist. */
  readonly configGiven: boolean;
  readonly logLevel: string | undefined;
  readonly address: string | undefined;
  readonly root: string | undefined;
  readonly state: string | undefined;
  /** --registry-mirror, repeatable. */
  readonly mirrors: readonly string[];
  readonly version: boolean;
  readonly help: boolean;
  /** Command and its arguments: config default, publish, ... */
  readonly command: readonly string[];
}

/** Default path of the config file. */
export const DEFAULT_CONFIG = "/etc/containerd/config.toml";

const WITH_VALUE: Readonly<Record<string, string>> = {
  c: "config",
  config: "config",
  l: "log-level",
  "log-level": "log-level",
  a: "address",
  address: "address",
  root: "root",
  state: "state",
  "registry-mirror": "registry-mirror",
};
const SWITCHES: Readonly<Record<string, string>> = {
  v: "version",
  version: "version",
  h: "help",
  help: "help",
};

/** @throws invalid-argument naming the flag */
export function parseFlags(args: readonly string[]): DaemonFlags {
  const values = new Map<string, string[]>();
  const switches = new Set<string>();
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i] ?? "";
    const match = /^--?([A-Za-z][A-Za-z-]*)(?:=(.*))?$/s.exec(arg);
    if (match === null) break;
    const name = match[1] ?? "";
    const takes = WITH_VALUE[name];
    if (takes !== undefined) {
      const value = match[2] ?? args[++i];
      if (value === undefined)
        throw invalidArgument(`flag needs an argument: ${arg}`, { hint: 'run "containerd --help"' });
      values.set(takes, [...(values.get(takes) ?? []), value]);
    } else if (SWITCHES[name] !== undefined) switches.add(SWITCHES[name]);
    else
      throw invalidArgument(`flag provided but not defined: ${arg}`, {
        hint: 'run "containerd --help" for the flags',
      });
  }
  const last = (name: string): string | undefined => values.get(name)?.at(-1);
  return {
    config: last("config") ?? DEFAULT_CONFIG,
    configGiven: values.has("config"),
    logLevel: last("log-level"),
    address: last("address"),
    root: last("root"),
    state: last("state"),
    mirrors: values.get("registry-mirror") ?? [],
    version: switches.has("version"),
    help: switches.has("help"),
    command: args.slice(i),
  };
}

/** Text of --help. */
export const help = `NAME:
   containerd - container engine of one node (gantry)

USAGE:
   containerd [flags] [command]

COMMANDS:
   config default    write the default configuration (version 3)
   config dump       write the configuration in effect: files, imports, defaults
   config migrate    write the configuration file in the newest form
   config check      say what is wrong in the configuration, line by line
   config explain    what a key is for, its value and where that comes from: config explain SystemdCgroup [-o json]
   publish           publish an event: --namespace NS --topic TOPIC, payload on stdin
   oci-hook          make an OCI hook of a program: oci-hook PROGRAM {{id}} {{pid}} ..., state on stdin

FLAGS:
   --config, -c FILE          configuration file (default "${DEFAULT_CONFIG}")
   --log-level, -l LEVEL      trace, debug, info, warn, error, fatal, panic
   --address, -a SOCKET       address of the API socket
   --root DIR                 folder of images, snapshots and metadata
   --state DIR                folder of run-time state
   --registry-mirror URL      ask this registry first; repeatable
   --help, -h                 show this text
   --version, -v              print the version

EXAMPLES:
   containerd config default > ${DEFAULT_CONFIG}
   containerd --config ./config.toml --log-level debug
   containerd --root /tmp/g/root --state /tmp/g/state --address /tmp/g/sock
`;
