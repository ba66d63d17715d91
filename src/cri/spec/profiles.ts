/** Seccomp and AppArmor profiles of a request, in their present and their deprecated spelling. */
import { readFile } from "node:fs/promises";
import type { SecurityProfile } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, invalidArgument, messageOf, notFound } from "../../core/errors.ts";
import { parseExactJson } from "../../oci/spec/json.ts";
import { linuxOf, processOf } from "../../oci/spec/options.ts";
import { withDefaultSeccomp } from "../../oci/spec/seccomp.ts";
import type { Seccomp, Spec } from "../../oci/spec/types.ts";
import { APPARMOR_DEFAULT, PROFILE } from "./constants.ts";

/** What is asked for. */
export type Profile =
  | { readonly type: "default" }
  | { readonly type: "unconfined" }
  | { readonly type: "localhost"; readonly name: string };

/** Largest seccomp profile read. Bytes. */
const MAX_PROFILE = 8 << 20;
const LOCALHOST = "localhost/";

/**
 * The profile of a request: the message when there is one, else the deprecated text.
 * @param text `runtime/default`, `docker/default`, `unconfined`, `localhost/NAME` or ""
 * @returns undefined when neither is set
 * @throws invalid-argument
 */
export function profileOf(
  profile: SecurityProfile | undefined,
  text: string,
  what: string,
): Profile | undefined {
  if (profile === undefined) return text === "" ? undefined : fromText(text, what);
  const type: number = profile.profileType;
  if (type !== PROFILE.localhost && profile.localhostRef !== "")
    throw invalidArgument(`${what} config invalid LocalhostRef must only be set if ProfileType is Localhost`);
  if (type === PROFILE.runtimeDefault) return { type: "default" };
  if (type === PROFILE.unconfined) return { type: "unconfined" };
  if (type === PROFILE.localhost) return { type: "localhost", name: trim(profile.localhostRef) };
  throw invalidArgument(`${what} unknown ProfileType ${type}`);
}

function fromText(text: string, what: string): Profile {
  if (text === "runtime/default" || text === "docker/default") return { type: "default" };
  if (text === "unconfined") return { type: "unconfined" };
  if (text.startsWith(LOCALHOST)) return { type: "localhost", name: trim(text) };
  throw invalidArgument(`invalid ${what} profile "${text}"`);
}

function trim(name: string): string {
  return name.startsWith(LOCALHOST) ? name.slice(LOCALHOST.length) : name;
}

/** A seccomp profile that is ready to be put into a spec. */
export type LoadedSeccomp = "default" | Seccomp | undefined;

/**
 * Reads the profile a container gets.
 * @param enabled the kernel has seccomp
 * @throws failed-precondition without seccomp, invalid-argument for a file that is none
 */
export async function loadSeccomp(
  profile: Profile | undefined,
  privileged: boolean,
  enabled: boolean,
): Promise<LoadedSeccomp> {
  if (privileged || profile === undefined || profile.type === "unconfined") return undefined;
  if (!enabled) throw failedPrecondition("seccomp is not supported");
  if (profile.type === "default") return "default";
  try {
    const bytes = await readFile(profile.name);
    if (bytes.length > MAX_PROFILE) throw new Error("too large");
    const value = parseExactJson(bytes.toString("utf8"));
    if (typeof value !== "object" || value === null || !("defaultAction" in value))
      throw new Error("not a seccomp profile: it has no defaultAction");
    return value as Seccomp;
  } catch (err) {
    throw invalidArgument(`cannot load seccomp profile "${profile.name}": ${messageOf(err)}`, { cause: err });
  }
}

/** Puts it in; after the capabilities, which the default profile follows. */
export function withSeccomp(spec: Spec, profile: LoadedSeccomp): void {
  if (profile === "default") withDefaultSeccomp(spec);
  else if (profile !== undefined) linuxOf(spec).seccomp = profile;
}

/** The kernel's AppArmor, as far as containers need it. */
export interface AppArmor {
  /** On, and not switched off by configuration. */
  readonly enabled: boolean;
  /** Is a profile of this name loaded? */
  isLoaded(name: string): Promise<boolean>;
  /** Loads the default profile under this name unless it is there. */
  loadDefault(name: string): Promise<void>;
}

/** Sets the AppArmor profile. @throws failed-precondition without AppArmor, not-found for an unknown profile */
export async function withAppArmor(
  spec: Spec,
  profile: Profile | undefined,
  privileged: boolean,
  apparmor: AppArmor,
): Promise<void> {
  if (!apparmor.enabled) {
    if (profile !== undefined && profile.type !== "unconfined")
      throw failedPrecondition("apparmor is not supported");
    return;
  }
  // asked for nothing: the default (kubernetes#51746)
  const wanted = profile ?? { type: "default" as const };
  if (wanted.type === "unconfined") return;
  if (wanted.type === "default") {
    if (privileged) return;
    await apparmor.loadDefault(APPARMOR_DEFAULT);
    processOf(spec).apparmorProfile = APPARMOR_DEFAULT;
    return;
  }
  if (wanted.name === "") throw invalidArgument("nil apparmor profile is not supported");
  if (!(await apparmor.isLoaded(wanted.name))) throw notFound(`apparmor profile not found ${wanted.name}`);
  processOf(spec).apparmorProfile = wanted.name;
}
