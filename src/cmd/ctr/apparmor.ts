/** Loads the default AppArmor profile of containers. */
import { failedPrecondition, invalidArgument, messageOf } from "../../core/errors.ts";
import { defaultProfile } from "../../oci/spec/apparmor.ts";
import { isProfileLoaded, loadProfile } from "../../platform/process/apparmor.ts";

/** Loads the profile unless the kernel has one of this name. @throws failed-precondition with the parser's words */
export async function loadDefaultProfile(name: string): Promise<void> {
  if (!/^[A-Za-z0-9][\w.-]*$/.test(name))
    throw invalidArgument(`apparmor profile "${name}": not a usable name`);
  if (await isProfileLoaded(name)) return;
  await loadProfile(defaultProfile(name)).catch((err: unknown) => {
    throw failedPrecondition(`load apparmor profile "${name}": ${messageOf(err)}`, {
      cause: err,
      hint: "the package apparmor has the program apparmor_parser",
    });
  });
}
