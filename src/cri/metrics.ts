/**
 * Times and counts of CRI's work, under containerd's names (its dashboards work). As there, the times are those of work that
 * succeeded, and all pods and containers are told apart by their runtime only.
 */
import type { Counter, MetricRegistry, Timer } from "../core/metrics/metrics.ts";

/** What the network plugins of a pod are asked for. */
type NetworkWork = "set_up_pod" | "tear_down_pod";

/** See the file's comment. */
export class CriMetrics {
  readonly sandboxList: Timer;
  readonly sandboxCreateNetwork: Timer;
  readonly sandboxDeleteNetwork: Timer;
  /** Label: the runtime. */
  readonly sandboxRuntimeCreate: Timer;
  /** Labels of these two: the handler as the pod asked for it, "" for the usual one. */
  readonly sandboxRuntimeStop: Timer;
  readonly sandboxRemove: Timer;
  readonly containerList: Timer;
  /** Label of those of containers: the runtime. */
  readonly containerCreate: Timer;
  readonly containerStart: Timer;
  readonly containerStop: Timer;
  readonly containerRemove: Timer;
  readonly #networkWork: Counter;
  readonly #networkErrors: Counter;
  readonly #networkTime: Timer;

  constructor(registry: MetricRegistry) {
    const timer = (name: string, help: string, ...labels: readonly string[]): Timer =>
      registry.timer(`containerd_cri_${name}`, help, ...labels);
    this.sandboxList = timer("sandbox_list", "time to list sandboxes");
    this.sandboxCreateNetwork = timer("sandbox_create_network", "time to create the network for a sandbox");
    this.sandboxDeleteNetwork = timer("sandbox_delete_network", "time to delete a sandbox's network");
    this.sandboxRuntimeCreate = timer(
      "sandbox_runtime_create",
      "time to create a sandbox in the runtime",
      "runtime",
    );
    this.sandboxRuntimeStop = timer("sandbox_runtime_stop", "time to stop a sandbox", "runtime");
    this.sandboxRemove = timer("sandbox_remove", "time to remove a sandbox", "runtime");
    this.containerList = timer("container_list", "time to list containers");
    this.containerCreate = timer("container_create", "time to create a container", "runtime");
    this.containerStart = timer("container_start", "time to start a container", "runtime");
    this.containerStop = timer("container_stop", "time to stop a container", "runtime");
    this.containerRemove = timer("container_remove", "time to remove a container", "runtime");
    // the units twice are containerd's
    const network = "containerd_cri_network_plugin_operations";
    this.#networkWork = registry.counter(
      `${network}_total_total`,
      "network plugin operations by type",
      "operation_type",
    );
    this.#networkErrors = registry.counter(
      `${network}_errors_total_total`,
      "network plugin operations that failed, by type",
      "operation_type",
    );
    this.#networkTime = registry.timer(
      `${network}_duration_seconds`,
      "latency of network plugin operations by type",
      "operation_type",
    );
  }

  /** Counts and times what plugins do for a pod. */
  async network<T>(what: NetworkWork, work: () => Promise<T>): Promise<T> {
    this.#networkWork.add(1, what);
    const whole = what === "set_up_pod" ? this.sandboxCreateNetwork : this.sandboxDeleteNetwork;
    try {
      return await succeeded(whole, () => this.#networkTime.time(work, what));
    } catch (err) {
      this.#networkErrors.add(1, what);
      throw err;
    }
  }
}

/** Times `work` when it succeeds. */
export async function succeeded<T>(
  timer: Timer,
  work: () => Promise<T>,
  ...labels: readonly string[]
): Promise<T> {
  const start = performance.now();
  const result = await work();
  timer.observe((performance.now() - start) / 1000, ...labels);
  return result;
}
