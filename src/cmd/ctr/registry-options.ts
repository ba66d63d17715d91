/** Registry and platform flags, read. */

import { readFileSync } from "node:fs";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import type { Platform } from "../../core/oci.ts";
import { matchOnly, matchOrdered, type PlatformMatcher, parsePlatform } from "../../oci/platform.ts";
import { apiHost, parseReference } from "../../oci/reference.ts";
import { runHelper } from "../../plugins/transfer/credential-helper.ts";
import { splitConfigPath } from "../../registry/hosts.ts";
import type { RegistryOptions } from "../../registry/registry.ts";
import type { Credentials, TlsProfile } from "../../registry/types.ts";
import { toStderr } from "../shared/output.ts";
import { listOf, textOf } from "./context.ts";
import { hostsOfDaemon } from "./daemon-hosts.ts";
import { askPassword } from "./password.ts";
import { stderrLog } from "./stderr-log.ts";

type Options = Readonly<Record<string, unknown>>;

/** What `--user` and `--refresh` say. Asks for a password that was left out. */
export async function credentialsOf(options: Options): Promise<Credentials | undefined> {
  const user = textOf(options, "user");
  const refresh = textOf(options, "refresh");
  if (user === "") return refresh === "" ? undefined : { kind: "refresh", token: refresh };
  const colon = user.indexOf(":");
  const username = colon < 0 ? user : user.slice(0, colon);
  const password = colon < 0 ? await askPassword("Password: ") : user.slice(colon + 1);
  return { kind: "basic", username, password };
}

/** Options of a registry client for one reference. Credentials go to that reference's own host only. */
export async function registryOptions(options: Options, reference: string): Promise<RegistryOptions> {
  const credentials = await credentialsOf(options);
  const { host } = parseReference(reference);
  const configPaths = splitConfigPath(textOf(options, "hostsDir"));
  const config = textOf(options, "config");
  const plain = options["plainHttp"] === true;
  const heads = options["httpDump"] === true;
  const times = options["httpTrace"] === true;
  const tls = tlsOf(options);
  return {
    runHelper,
    hosts: {
      // Without a folder of its own a command goes the daemon's way.
      ...(configPaths.length > 0 ? { configPaths } : hostsOfDaemon(config || undefined, config !== "")),
      ...(plain ? { defaultScheme: "http" as const } : {}),
      ...(tls === undefined ? {} : { defaultTls: tls }),
    },
    ...(credentials === undefined
      ? {}
      : {
          credentials: async (asked) => (asked === host || asked === apiHost(host) ? credentials : undefined),
        }),
    ...(heads || times
      ? { log: stderrLog(), dump: { heads, times, write: (text) => void toStderr(text) } }
      : {}),
  };
}

function tlsOf(options: Options): TlsProfile | undefined {
  const skipVerify = options["skipVerify"] === true;
  const ca = textOf(options, "tlscacert");
  const cert = textOf(options, "tlscert");
  const key = textOf(options, "tlskey");
  if (!skipVerify && ca === "" && cert === "" && key === "") return undefined;
  if ((cert === "") !== (key === ""))
    throw invalidArgument("flags --tlscert and --tlskey: give both or none");
  return {
    skipVerify,
    ...(ca === "" ? {} : { ca: [readText(ca, "tlscacert")] }),
    ...(cert === "" ? {} : { client: [{ cert: readText(cert, "tlscert"), key: readText(key, "tlskey") }] }),
  };
}

function readText(path: string, flag: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (err) {
    throw invalidArgument(`flag --${flag}: ${messageOf(err)}`, { cause: err });
  }
}

/** Which platforms a command is about. */
export interface Wanted {
  readonly platforms: readonly Platform[];
  readonly allPlatforms: boolean;
  /** Undefined: this machine's. */
  readonly matcher: PlatformMatcher | undefined;
  /** Most manifests of an index. */
  readonly limit: number;
}

/** `--platform` (once or many times) and `--all-platforms`. */
export function platformsOf(options: Options): Wanted {
  const one = textOf(options, "platform");
  const texts = one === "" ? listOf(options, "platform") : [one];
  const platforms = texts.map((text) => parsePlatform(text));
  const [first] = platforms;
  const allPlatforms = options["allPlatforms"] === true;
  if (first === undefined || allPlatforms)
    return { platforms: [], allPlatforms, matcher: undefined, limit: allPlatforms ? 0 : 1 };
  // several are meant exactly; one may be stood in for by what runs on it
  const matcher = platforms.length === 1 ? matchOnly(first) : matchOrdered(platforms);
  return { platforms, allPlatforms, matcher, limit: platforms.length === 1 ? 1 : 0 };
}

/** A flag that is a positive number. @throws invalid-argument */
export function countOf(options: Options, name: string, flag: string): number | undefined {
  const text = textOf(options, name);
  if (text === "" || text === "0") return undefined;
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw invalidArgument(`flag --${flag} "${text}": use a number from 1 to 9999`);
  return Number(text);
}
