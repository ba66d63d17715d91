/**
 * What the next life of the daemon needs to know of pods and containers.
 *
 * The unchanging part (configs, names, runtime) is an extension of the sandbox or container record in the metadata database,
 * written durably before anything else of it is made: an intent. The changing part (state, addresses, exit) is one small file
 * per object, replaced by rename: after a power cut nothing runs any more, and what runs is asked from its task.
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AnyValue } from "../../core/any.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import { writeFileAtomic } from "../../platform/fs/atomic-write.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import type { CriDeps } from "../deps.ts";
import type { Container, Pod } from "../model.ts";
import { fromJson, toJson } from "./json.ts";

/** Extension of the records. */
export const RECORD = "gantry.cri.record";
const POD_URL = "gantry.cri.v1/Pod";
const CONTAINER_URL = "gantry.cri.v1/Container";

/** Label that tells containers and pods' own processes apart, as containerd sets it. */
export const KIND_LABEL = "io.cri-containerd.kind";

/** What changes of a pod. */
type PodChange = Pick<
  Pod,
  "state" | "exitedAt" | "pid" | "ips" | "cniResult" | "processLabel" | "mountLabel" | "netnsPath"
> & { readonly overhead?: unknown; readonly resources?: unknown };

type ContainerChange = Pick<
  Container,
  "state" | "startedAt" | "finishedAt" | "exitCode" | "reason" | "message" | "pid"
>;

/** See the file's comment. */
export class Records {
  readonly #deps: Pick<CriDeps, "call" | "root" | "metadata" | "codec" | "log">;
  readonly #saving = new Map<string, Promise<void>>();

  constructor(deps: Pick<CriDeps, "call" | "root" | "metadata" | "codec" | "log">) {
    this.#deps = deps;
  }

  /** Persistent folder of a pod. */
  podDir(id: string): string {
    return join(this.#deps.root, "sandboxes", id);
  }

  /** Persistent folder of a container. */
  containerDir(id: string): string {
    return join(this.#deps.root, "containers", id);
  }

  async createPod(pod: Pod): Promise<void> {
    const { metadata, call, codec } = this.#deps;
    await mkdir(this.podDir(pod.id), { recursive: true, mode: 0o700 });
    const { config, handler, name, createdAt, stateDir, netnsPath, pinned } = pod;
    const record = {
      pinned,
      name,
      handler,
      createdAt,
      stateDir,
      netnsPath,
      config: codec.encodePodConfig(config),
    };
    await metadata.sandboxes.create(call, {
      id: pod.id,
      runtime: pod.runtime,
      labels: new Map([...Object.entries(config.labels), [KIND_LABEL, "sandbox"]]),
      extensions: new Map([[RECORD, pack(POD_URL, record)]]),
      sandboxer: "podsandbox",
    });
  }

  async savePod(pod: Pod): Promise<void> {
    const { state, exitedAt, pid, ips, cniResult, processLabel, mountLabel, netnsPath } = pod;
    const change: PodChange = { state, exitedAt, pid, ips, cniResult, processLabel, mountLabel, netnsPath };
    await this.#save(this.podDir(pod.id), change);
  }

  /** Replaces the stored config (resources of a pod were updated). */
  async savePodConfig(pod: Pod): Promise<void> {
    const { metadata, call, codec } = this.#deps;
    const old = await metadata.sandboxes.get(call, pod.id);
    const { config, handler, name, createdAt, stateDir, netnsPath, pinned } = pod;
    const record = {
      pinned,
      name,
      handler,
      createdAt,
      stateDir,
      netnsPath,
      config: codec.encodePodConfig(config),
    };
    const extensions = new Map([[RECORD, pack(POD_URL, record)]]);
    await metadata.sandboxes.update(call, { ...old, extensions }, [`extensions.${RECORD}`]);
  }

  async removePod(id: string): Promise<void> {
    const { metadata, call } = this.#deps;
    await removeTree(this.podDir(id));
    await metadata.sandboxes.delete(call.detached(30_000), id).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  }

  /** The extension that makes a container record one of CRI's. */
  containerRecord(container: Container): AnyValue {
    const { name, podId, config, imageRef, imageId, createdAt, logPath, stopSignal, user } = container;
    return pack(CONTAINER_URL, {
      name,
      podId,
      imageRef,
      imageId,
      createdAt,
      logPath,
      stopSignal,
      user,
      config: this.#deps.codec.encodeContainerConfig(config),
    });
  }

  async saveContainer(container: Container): Promise<void> {
    const { state, startedAt, finishedAt, exitCode, reason, message, pid } = container;
    const change: ContainerChange = { state, startedAt, finishedAt, exitCode, reason, message, pid };
    await this.#save(this.containerDir(container.id), change);
  }

  /** Every pod that a record is left of. What cannot be read is told and left out. */
  async loadPods(): Promise<Pod[]> {
    const { metadata, call, codec, log } = this.#deps;
    const records = await metadata.sandboxes.list(call, []);
    const pods = await Promise.all(
      records.map(async (record): Promise<Pod | undefined> => {
        try {
          const extension = record.extensions.get(RECORD);
          if (extension === undefined) return undefined;
          const fixed = unpack(extension) as Pick<
            Pod,
            "name" | "handler" | "createdAt" | "stateDir" | "netnsPath" | "pinned"
          > & { config: Uint8Array };
          const change = await this.#load<PodChange>(this.podDir(record.id));
          return {
            id: record.id,
            runtime: record.runtime,
            state: "creating",
            pid: 0,
            ips: [],
            processLabel: "",
            mountLabel: "",
            ...fixed,
            ...change,
            config: codec.decodePodConfig(fixed.config),
          };
        } catch (err) {
          log.error("read the record of a pod: left out", { id: record.id, err: messageOf(err) });
          return undefined;
        }
      }),
    );
    return pods.filter((p) => p !== undefined);
  }

  /** Every container that a record is left of. */
  async loadContainers(): Promise<Container[]> {
    const { metadata, call, codec, log } = this.#deps;
    const records = await metadata.containers.list(call, []);
    const containers = await Promise.all(
      records.map(async (record): Promise<Container | undefined> => {
        try {
          const extension = record.extensions.get(RECORD);
          if (extension === undefined) return undefined;
          const fixed = unpack(extension) as Pick<
            Container,
            "name" | "podId" | "imageRef" | "imageId" | "createdAt" | "logPath" | "stopSignal" | "user"
          > & { config: Uint8Array };
          const change = await this.#load<ContainerChange>(this.containerDir(record.id));
          return {
            id: record.id,
            snapshotter: record.snapshotter,
            snapshotKey: record.snapshotKey,
            state: "created",
            exitCode: 0,
            reason: "",
            message: "",
            pid: 0,
            ...fixed,
            ...change,
            config: codec.decodeContainerConfig(fixed.config),
          };
        } catch (err) {
          log.error("read the record of a container: left out", { id: record.id, err: messageOf(err) });
          return undefined;
        }
      }),
    );
    return containers.filter((c) => c !== undefined);
  }

  /** One write after the other for each object, in the order of the changes. */
  async #save(dir: string, change: object): Promise<void> {
    const text = toJson(change);
    const before = this.#saving.get(dir) ?? Promise.resolve();
    const saved = before
      .catch(() => {})
      .then(() => writeFileAtomic(join(dir, "state.json"), text, { mode: 0o600, durable: false }));
    this.#saving.set(dir, saved);
    try {
      await saved;
    } finally {
      if (this.#saving.get(dir) === saved) this.#saving.delete(dir);
    }
  }

  /** {} when nothing was saved yet or a power cut took it. */
  async #load<T extends object>(dir: string): Promise<Partial<T>> {
    try {
      return fromJson(await readFile(join(dir, "state.json"), "utf8")) as Partial<T>;
    } catch {
      return {};
    }
  }
}

function pack(typeUrl: string, record: object): AnyValue {
  return { typeUrl, value: new TextEncoder().encode(toJson(record)) };
}

function unpack(any: AnyValue): unknown {
  return fromJson(new TextDecoder().decode(any.value));
}
