/** Seccomp and AppArmor flags. */
import { readFileSync } from "node:fs";
import { failedPrecondition, invalidArgument, messageOf } from "../../core/errors.ts";
import { parseExactJson } from "../../oci/spec/json.ts";
import { linuxOf, processOf } from "../../oci/spec/options.ts";
import type { Seccomp, Spec } from "../../oci/spec/types.ts";
import { textOf } from "./context.ts";

type Options = Readonly<Record<string, unknown>>;

/** Applies --seccomp and --seccomp-profile; after the capabilities, which the default profile follows. */
export async function applySeccomp(spec: Spec, options: Options): Promise<void> {
  const path = textOf(options, "seccompProfile");
  if (options["seccomp"] !== true) {
    if (path === "") return;
    throw invalidArgument("flag --seccomp-profile: seccomp is not on", { hint: "add --seccomp" });
  }
  if (path === "") {
    const { withDefaultSeccomp } = await import("../../oci/spec/seccomp.ts");
    withDefaultSeccomp(spec);
    return;
  }
  try {
    const profile = parseExactJson(readFileSync(path, "utf8"));
    if (typeof profile !== "object" || profile === null || !("defaultAction" in profile))
      throw new Error("not a seccomp profile: it has no defaultAction");
    linuxOf(spec).seccomp = profile as Seccomp;
  } catch (err) {
    throw invalidArgument(`flag --seccomp-profile "${path}": ${messageOf(err)}`, { cause: err });
  }
}

/** Applies --apparmor-profile and --apparmor-default-profile; the latter is loaded into the kernel when it is not there. */
export async function applyAppArmor(spec: Spec, options: Options): Promise<void> {
  const custom = textOf(options, "apparmorProfile");
  const standard = textOf(options, "apparmorDefaultProfile");
  if (custom === "" && standard === "") return;
  if (custom !== "" && standard !== "")
    throw invalidArgument(
      "flags --apparmor-profile and --apparmor-default-profile cannot be specified together",
    );
  if (!kernelHasAppArmor())
    throw failedPrecondition("apparmor profile: this kernel has no AppArmor, or it is off", {
      hint: "leave the flag out",
    });
  processOf(spec).apparmorProfile = custom === "" ? standard : custom;
  if (custom === "") {
    const { loadDefaultProfile } = await import("./apparmor.ts");
    await loadDefaultProfile(standard);
  }
}

function kernelHasAppArmor(): boolean {
  try {
    return readFileSync("/sys/module/apparmor/parameters/enabled", "utf8").startsWith("Y");
  } catch {
    return false;
  }
}
