/** The machine's AppArmor for {@link ./profiles.ts}. */
import { failedPrecondition, messageOf } from "../../core/errors.ts";
import { defaultProfile } from "../../oci/spec/apparmor.ts";
import { isProfileLoaded, loadProfile } from "../../platform/process/apparmor.ts";
import type { AppArmor } from "./profiles.ts";

/** @param enabled as the kernel and the configuration say */
export function hostAppArmor(enabled: boolean): AppArmor {
  return {
    enabled,
    isLoaded: isProfileLoaded,
    async loadDefault(name) {
      if (await isProfileLoaded(name)) return;
      await loadProfile(defaultProfile(name)).catch((err: unknown) => {
        throw failedPrecondition(`load apparmor profile "${name}": ${messageOf(err)}`, { cause: err });
      });
    },
  };
}
