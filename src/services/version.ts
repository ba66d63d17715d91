import { Version } from "../api/gen/containerd/services/version/v1/version_pb.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Version service. */
export function versionService(facts: { version: string; revision: string }): ServiceBinding {
  return bindService(Version, { version: () => ({ version: facts.version, revision: facts.revision }) });
}
