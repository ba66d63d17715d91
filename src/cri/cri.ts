/** The pod domain of one daemon: what the services ask. */
import { join } from "node:path";
import type { PodSandboxConfig } from "../api/gen/cri/runtime/v1/api_pb.ts";
import { MetricRegistry } from "../core/metrics/metrics.ts";
import { KeyedMutex } from "../lib/keyed-mutex.ts";
import { SingleFlight } from "../lib/single-flight.ts";
import { Namespaces } from "./cni/namespaces.ts";
import { PodNetwork } from "./cni/pod-network.ts";
import type { CriDeps } from "./deps.ts";
import { Handlers } from "./handlers.ts";
import { ImageMounts } from "./images/mounts.ts";
import type { CriImageService } from "./images/service.ts";
import { CriMetrics } from "./metrics.ts";
import type { Pod } from "./model.ts";
import { Monitor } from "./monitor.ts";
import { type NriHooks, noNriHooks } from "./nri/hooks.ts";
import { PauseImages } from "./pods/pause-image.ts";
import { pinnedPaths } from "./pods/pinned.ts";
import { StartGate } from "./pods/start-gate.ts";
import { readHostFacts } from "./spec/host.ts";
import type { HostFacts, SelinuxLabels } from "./spec/input.ts";
import { allocateLabels } from "./spec/selinux-labels.ts";
import { Creations } from "./store/creations.ts";
import { Records } from "./store/records.ts";
import { CriStore } from "./store/store.ts";

/** Where network namespaces are pinned unless the configuration says otherwise. */
const NETNS_DIR = "/var/run/netns";

/** See the file's comment. */
export class Cri {
  readonly deps: CriDeps;
  readonly store: CriStore;
  readonly records: Records;
  readonly podNames = new Creations("sandbox");
  readonly containerNames = new Creations("container");
  readonly images: CriImageService;
  /** Images mounted into containers. */
  readonly imageMounts: ImageMounts;
  readonly handlers: Handlers;
  readonly network: PodNetwork;
  readonly pause: PauseImages;
  readonly monitor: Monitor;
  readonly host: HostFacts;
  readonly namespaces: Namespaces;
  /** Execs of this life of the daemon, by id. */
  readonly execs = new Set<string>();
  readonly startGate = new StartGate();
  readonly metrics: CriMetrics;
  /** For metrics of single services. */
  readonly registry: MetricRegistry;
  /** One change at a time for each pod and container, by id. */
  readonly locks = new KeyedMutex();
  /** Stops under way, by pod. */
  readonly podStops = new SingleFlight<string, void>();
  /** Ids of pods and containers that are being made: not in the store yet. */
  readonly making = new Set<string>();
  /** Set once, before anything is served. */
  nri: NriHooks = noNriHooks;
  readonly #signalled = new Map<string, Promise<void>>();

  constructor(deps: CriDeps, images: CriImageService, metrics = new MetricRegistry()) {
    const { config } = deps;
    this.metrics = new CriMetrics(metrics);
    this.registry = metrics;
    this.deps = deps;
    this.records = new Records(deps);
    this.store = new CriStore(deps.call, this.records, deps.log);
    this.images = images;
    this.imageMounts = new ImageMounts(deps, images);
    this.handlers = new Handlers(deps);
    this.network = new PodNetwork(config.cni, config.handlers.values(), join(deps.root, "cni"), deps.log);
    this.pause = new PauseImages(deps, images);
    this.monitor = new Monitor(this);
    this.host = readHostFacts();
    const netnsDir = config.netnsMountsUnderStateDir ? join(deps.state, "netns") : NETNS_DIR;
    this.namespaces = new Namespaces(netnsDir, deps.root, deps.log);
  }

  /** SELinux labels of a new pod. */
  async labels(pod: PodSandboxConfig): Promise<SelinuxLabels> {
    const { config } = this.deps;
    if (!config.enableSelinux || !this.host.selinux) return { processLabel: "", mountLabel: "" };
    if (pod.linux?.securityContext?.privileged === true) return { processLabel: "", mountLabel: "" };
    return await allocateLabels(pod.linux?.securityContext?.selinuxOptions, config.selinuxCategoryRange);
  }

  /** Sends the stop signal once in a container's life, however often its stop is asked for. */
  async signalled(id: string, send: () => Promise<void>): Promise<void> {
    let sent = this.#signalled.get(id);
    if (sent === undefined) {
      sent = send();
      this.#signalled.set(id, sent);
      // one that could not be sent is tried again by the next stop
      sent.catch(() => this.#signalled.delete(id));
    }
    await sent;
  }

  /** The container is gone. */
  forget(id: string): void {
    this.#signalled.delete(id);
  }

  /** Pinned namespaces of a pod without a process of its own. */
  namespacePaths(pod: Pod): Readonly<Record<string, string>> | undefined {
    return pod.pinned === true ? pinnedPaths(pod) : undefined;
  }
}
