/** One plugin at the other end of a connection: registration, configuration, requests one after the other with a time limit. */
import type { Duplex } from "node:stream";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import {
  type ContainerSchema,
  type ContainerUpdateSchema,
  Event,
  HostFunctions,
  type LinuxResourcesSchema,
  type LogRequest,
  LogRequest_Level,
  Plugin as PluginService,
  type PodSandboxSchema,
  Runtime,
  type UpdateContainersRequest,
} from "../../api/gen/nri/v1alpha1/api_pb.ts";
import {
  codeOf,
  deadlineExceeded,
  failedPrecondition,
  invalidArgument,
  isNotImplemented,
  messageOf,
  unavailable,
  unknownError,
} from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { NriContainer, NriPod, NriUpdate } from "../../core/nri/types.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { createTtrpcServer } from "../../rpc/ttrpc/server.ts";
import { createTtrpcTransportOn } from "../../rpc/ttrpc/transport.ts";
import { bindService, type Transport } from "../../rpc/types.ts";
import { Mux, PLUGIN_STREAM, RUNTIME_STREAM } from "./mux.ts";

/** Every event a plugin may ask for. */
const ALL_EVENTS = (1 << (Event.LAST - 1)) - 1;

/** Version of NRI whose messages these are. */
const NRI_VERSION = "v0.12.0";

/** Who the engine says it is, and how long plugins may take. Milliseconds. */
export interface RemoteOptions {
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly registrationMs: number;
  readonly requestMs: number;
  readonly log: Logger;
  /** A plugin wants containers changed, by itself. @returns updates that failed */
  readonly onUpdate: (request: UpdateContainersRequest) => Promise<readonly NriUpdate[]>;
  readonly onClose: () => void;
}

/** A plugin that was started by us has its name and configuration beforehand. */
export interface Preset {
  readonly index: string;
  readonly name: string;
  readonly config: string;
}

type Method = DescMethod & { readonly input: DescMessage; readonly output: DescMessage };

/** See the file's comment. */
export class RemotePlugin {
  index = "";
  name = "";
  readonly #options: RemoteOptions;
  readonly #mux: Mux;
  readonly #transport: Transport;
  readonly #registered = createDeferred<void>();
  readonly #config: string;
  readonly #closing = new AbortController();
  #events = 0;
  #ready = false;
  #queue: Promise<unknown> = Promise.resolve();

  /** Takes over `socket`. */
  constructor(socket: Duplex, options: RemoteOptions, preset?: Preset) {
    this.#options = options;
    this.#config = preset?.config ?? "";
    this.#mux = new Mux(socket);
    const calls = this.#mux.open(PLUGIN_STREAM);
    const serves = this.#mux.open(RUNTIME_STREAM);
    this.#transport = createTtrpcTransportOn(calls, "NRI plugin");
    calls.on("close", () => this.close());
    const server = createTtrpcServer({
      services: [
        bindService(Runtime, {
          registerPlugin: (r) => {
            if (this.#registered.settled) throw failedPrecondition("plugin is registered already");
            this.#register(preset?.index ?? r.pluginIdx, preset?.name ?? r.pluginName);
            return {};
          },
          updateContainers: async (r) => {
            if (!this.#ready) throw failedPrecondition("plugin is not synchronized yet");
            return { failed: (await options.onUpdate(r)).map((each) => wire<UpdateInit>(each)) };
          },
        }),
        bindService(HostFunctions, {
          log: (r) => {
            this.#log(r);
            return {};
          },
        }),
      ],
    });
    server.serve(serves);
    this.#registered.promise.catch(() => {});
  }

  /** `INDEX-NAME`, as conflicts name it. */
  get id(): string {
    return `${this.index}-${this.name}`;
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** True when the plugin asked for this event. */
  wants(event: Event): boolean {
    return (this.#events & (1 << (event - 1))) !== 0;
  }

  /** Waits for its registration, then configures it. @throws when it does not come in time; it is closed then */
  async start(): Promise<void> {
    const { registrationMs, requestMs, runtimeName, runtimeVersion } = this.#options;
    const timer = setTimeout(
      () => this.#registered.reject(deadlineExceeded("plugin registration timed out")),
      registrationMs,
    );
    try {
      await this.#registered.promise;
      clearTimeout(timer);
      const reply = await this.#call(
        PluginService.method.configure,
        {
          config: this.#config,
          runtimeName,
          runtimeVersion,
          registrationTimeout: BigInt(registrationMs),
          requestTimeout: BigInt(requestMs),
          NRIVersion: NRI_VERSION,
        },
        requestMs,
      );
      if ((reply.events & ~ALL_EVENTS) !== 0)
        throw invalidArgument(`invalid plugin events: 0x${(reply.events & ~ALL_EVENTS).toString(16)}`);
      this.#events = reply.events === 0 ? ALL_EVENTS : reply.events;
    } catch (err) {
      this.close();
      throw err;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Tells it what there is. Large states go in pieces. It has as long as for registration: it may have much to look at.
   * @returns updates that it wants. @throws when it fails; it is closed then
   */
  async synchronize(pods: readonly NriPod[], containers: readonly NriContainer[]): Promise<NriUpdate[]> {
    try {
      let restPods = pods;
      let restContainers = containers;
      for (let size = pods.length + containers.length; ; ) {
        const somePods = restPods.slice(0, size);
        const someContainers = restContainers.slice(0, Math.max(0, size - somePods.length));
        const more = somePods.length < restPods.length || someContainers.length < restContainers.length;
        try {
          const reply = await this.#call(
            PluginService.method.synchronize,
            {
              pods: somePods.map((each) => wire<PodInit>(each)),
              containers: someContainers.map((each) => wire<ContainerInit>(each)),
              more,
            },
            this.#options.registrationMs,
          );
          if (!more) {
            this.#ready = true;
            return reply.update;
          }
          if (!reply.more || reply.update.length > 0)
            throw failedPrecondition("plugin does not handle split sync requests");
        } catch (err) {
          if (codeOf(err) !== "resource-exhausted" || size <= 1) throw err;
          size = Math.ceil(size / 2);
          continue;
        }
        restPods = restPods.slice(somePods.length);
        restContainers = restContainers.slice(someContainers.length);
      }
    } catch (err) {
      this.close();
      throw err;
    }
  }

  /**
   * One request. The plugin gets one at a time, in order.
   * @returns undefined when the plugin is not there (any more), did not answer in time, or does not know the method
   * @throws unknown with the plugin's words when it refuses
   */
  request<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    old?: MessageInitShape<(typeof PluginService.method.stateChange)["input"]>,
  ): Promise<MessageShape<O> | undefined> {
    const turn = this.#queue.then(async () => {
      if (this.closed) return undefined;
      try {
        return await this.#call(method, request, this.#options.requestMs);
      } catch (err) {
        if (isNotImplemented(err)) {
          // plugins of before know this as an event only
          if (old !== undefined) await this.#stateChange(old);
          return undefined;
        }
        return this.#failed(method, err);
      }
    });
    this.#queue = turn.catch(() => {});
    return turn;
  }

  /** Closes the connection. Idempotent. */
  close(): void {
    if (this.closed) return;
    this.#closing.abort(unavailable("plugin is closed"));
    this.#registered.reject(unavailable("connection to plugin closed"));
    this.#mux.close();
    this.#options.onClose();
  }

  async #stateChange(event: MessageInitShape<(typeof PluginService.method.stateChange)["input"]>) {
    const method = PluginService.method.stateChange;
    try {
      await this.#call(method, event, this.#options.requestMs);
    } catch (err) {
      if (!isNotImplemented(err)) this.#failed(method, err);
    }
  }

  /** A plugin that does not answer is closed and left out; one that answers with an error is heard. */
  #failed(method: Method, err: unknown): undefined {
    const code = codeOf(err);
    if (
      code === "deadline-exceeded" ||
      code === "unavailable" ||
      code === "canceled" ||
      code === "internal"
    ) {
      this.#options.log.error("NRI plugin is closed: it did not answer", {
        plugin: this.id,
        request: method.name,
        err,
      });
      this.close();
      return undefined;
    }
    throw unknownError(messageOf(err), { cause: err });
  }

  #register(index: string, name: string): void {
    const problem = !/^[0-9]{2}$/.test(index)
      ? invalidArgument(`invalid plugin index "${index}", must be 2 digits`)
      : !/^[a-zA-Z0-9_.+-]+$/.test(name)
        ? invalidArgument(`invalid plugin name "${name}"`)
        : undefined;
    if (problem !== undefined) {
      // its answer goes first
      setImmediate(() => this.#registered.reject(problem));
      throw problem;
    }
    this.index = index;
    this.name = name;
    this.#registered.resolve();
  }

  async #call<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    timeoutMs: number,
  ): Promise<MessageShape<O>> {
    return this.#transport.unary(method, request, { timeoutMs, signal: this.#closing.signal });
  }

  #log({ level, msg }: LogRequest): void {
    const { log } = this.#options;
    const fields = { plugin: this.id };
    if (level === LogRequest_Level.ERROR) log.error(msg, fields);
    else if (level === LogRequest_Level.WARN) log.warn(msg, fields);
    else if (level === LogRequest_Level.INFO) log.info(msg, fields);
    else log.debug(msg, fields);
  }
}

export type PodInit = MessageInitShape<typeof PodSandboxSchema>;
export type ContainerInit = MessageInitShape<typeof ContainerSchema>;
export type UpdateInit = MessageInitShape<typeof ContainerUpdateSchema>;
export type ResourcesInit = MessageInitShape<typeof LinuxResourcesSchema>;

/** Core's records have the fields of the messages, only readonly. */
export function wire<T>(value: unknown): T {
  return value as T;
}
