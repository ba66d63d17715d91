/** Version of the runtime specification that a spec declares. */
import { failedPrecondition } from "../../core/errors.ts";
import { OCI_VERSION } from "../../oci/spec/default.ts";
import type { Spec } from "../../oci/spec/types.ts";

/** First version with id mappings of mounts. Runtimes took recursive attributes (`rro`) before any version had them. */
const WITH_MAPPED_MOUNTS = "1.1.0";

/**
 * Declares the lowest version that has every member of the spec, because runtimes refuse versions newer than they are.
 * @param max highest version the runtime takes, "" when unknown
 * @throws failed-precondition when that is too low
 */
export function withLowestVersion(spec: Spec, max: string): void {
  const mapped = spec.mounts?.some((m) => m.uidMappings !== undefined || m.gidMappings !== undefined);
  spec.ociVersion = mapped === true ? WITH_MAPPED_MOUNTS : OCI_VERSION;
  if (max !== "" && compare(max, spec.ociVersion) < 0)
    throw failedPrecondition(
      `the OCI runtime supports version ${max} of the runtime specification, this container needs ${spec.ociVersion}`,
      { hint: "install a newer runc" },
    );
}

function compare(a: string, b: string): number {
  const parts = (v: string): number[] => (v.split(/[-+]/)[0] ?? "").split(".").map(Number);
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
