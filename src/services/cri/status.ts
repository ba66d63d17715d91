/** Version, Status, RuntimeConfig: what the engine is and can do. */
import { CgroupDriver } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Cri } from "../../cri/cri.ts";
import type { RuntimeMethods } from "./service.ts";

/** Version of the kubelet's API that this answers. */
const KUBE_API = "0.1.0";

export function statusMethods(cri: Cri): RuntimeMethods {
  const { deps } = cri;
  return {
    version: () => ({
      version: KUBE_API,
      runtimeName: "containerd",
      runtimeVersion: deps.daemon.version,
      runtimeApiVersion: "v1",
    }),
    status: () => ({
      status: {
        conditions: [
          { type: "RuntimeReady", status: true },
          { type: "NetworkReady", status: true },
        ],
      },
    }),
    runtimeConfig: () => ({ linux: { cgroupDriver: CgroupDriver.CGROUPFS } }),
  };
}
