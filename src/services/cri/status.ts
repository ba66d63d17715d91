/** Version, Status, RuntimeConfig, UpdateRuntimeConfig: what the engine is and can do. */
import { existsSync } from "node:fs";
import { CgroupDriver } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { NetworkFolder } from "../../cri/cni/networks.ts";
import { applyPodCidr } from "../../cri/cni/pod-cidr.ts";
import type { Cri } from "../../cri/cri.ts";
import type { RuntimeMethods } from "./methods.ts";

/** Version of the kubelet's API that this answers. */
const KUBE_API = "0.1.0";
/** Limit of a CRI answer's field, characters. */
const MAX_MESSAGE = 4096;

export function statusMethods(cri: Cri): RuntimeMethods {
  const { deps } = cri;
  return {
    version: () => ({
      version: KUBE_API,
      runtimeName: "containerd",
      runtimeVersion: deps.daemon.version,
      runtimeApiVersion: "v1",
    }),
    // from memory alone: a plugin that hangs delays no Status (R13)
    async status(r) {
      const network = cri.network.status(cri.handlers.get(""));
      return {
        status: {
          conditions: [
            { type: "RuntimeReady", status: true },
            network === undefined
              ? { type: "NetworkReady", status: true }
              : {
                  type: "NetworkReady",
                  status: false,
                  reason: "NetworkPluginNotReady",
                  message: `Network plugin returns error: ${network}`.slice(0, MAX_MESSAGE),
                },
            { type: "ContainerdHasNoDeprecationWarnings", status: true },
          ],
        },
        runtimeHandlers: await handlers(cri),
        features: {
          supplementalGroupsPolicy: true,
          userNamespacesHostNetwork: await hostNetworkUserns(cri),
        },
        info: r.verbose ? info(cri) : {},
      };
    },
    runtimeConfig: () => ({ linux: { cgroupDriver: cgroupDriver(cri) } }),
    async updateRuntimeConfig(r) {
      await applyPodCidr(cri, r.runtimeConfig?.networkConfig?.podCidr ?? "");
      return {};
    },
  };
}

async function handlers(cri: Cri) {
  const { config } = cri.deps;
  const one = async (name: string, of: string) => {
    const facts = await cri.handlers.facts(cri.handlers.get(of));
    return {
      name,
      features: {
        recursiveReadOnlyMounts: facts.recursiveReadOnlyMounts,
        userNamespaces: facts.userNamespaces,
      },
    };
  };
  const names = [...config.handlers.keys()].sort();
  return await Promise.all([one("", config.defaultRuntimeName), ...names.map((n) => one(n, n))]);
}

/** A user namespace on the node's network needs nothing but user namespaces: /sys is bound, not mounted. */
async function hostNetworkUserns(cri: Cri): Promise<boolean> {
  return (await cri.handlers.facts(cri.handlers.get(""))).userNamespaces;
}

/** The default handler says; else the first runc one; without any, the machine. */
function cgroupDriver(cri: Cri): CgroupDriver {
  const { config } = cri.deps;
  const first = config.handlers.get(config.defaultRuntimeName);
  const others = [...config.handlers.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const runc = [...(first === undefined ? [] : [first]), ...others].find(
    (h) => h.type === "io.containerd.runc.v2",
  );
  const systemd = runc === undefined ? existsSync("/run/systemd/system") : runc.systemdCgroup;
  return systemd ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS;
}

function info(cri: Cri): Record<string, string> {
  const { deps } = cri;
  const json = (value: unknown): string =>
    JSON.stringify(value, (_key, v: unknown) => (typeof v === "bigint" ? Number(v) : v));
  const out: Record<string, string> = {
    config: json({
      ...deps.config.table,
      ...deps.imagesConfig.table,
      containerdRootDir: deps.daemon.root,
      containerdEndpoint: deps.daemon.address,
      rootDir: deps.root,
      stateDir: deps.state,
    }),
    golang: json(
      `none: ${process.versions["bun"] === undefined ? "deno" : `bun ${process.versions["bun"]}`}`,
    ),
  };
  for (const [name, folder] of cri.network.folders) {
    const suffix = name === "" ? "" : `.${name}`;
    out[`lastCNILoadStatus${suffix}`] = json(folder.current.problem ?? "OK");
    if (name === "") out["cniconfig"] = json(cniInfo(cri, folder));
  }
  return out;
}

/** In the shape that containerd's CNI library prints. */
function cniInfo(cri: Cri, folder: NetworkFolder): unknown {
  const { cni } = cri.deps.config;
  return {
    PluginDirs: cni.binDirs,
    PluginConfDir: folder.dir,
    PluginMaxConfNum: cni.maxConfNum,
    Prefix: "eth",
    Networks: folder.current.networks.map((network, index) => ({
      Config: {
        Name: network.name,
        CNIVersion: network.cniVersion,
        Plugins: network.plugins.map((p) => ({ Network: p.raw, Source: JSON.stringify(p.raw) })),
        Source: network.text,
      },
      IFName: `eth${index}`,
    })),
  };
}
