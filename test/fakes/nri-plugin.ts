/** An NRI plugin: speaks to the engine over NRI's multiplexed ttrpc as plugins do. */
import { once } from "node:events";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerEvictionSchema,
  type ContainerUpdateSchema,
  Plugin,
  Runtime,
  type UpdateContainersResponse,
} from "../../src/api/gen/nri/v1alpha1/api_pb.ts";
import { Mux, PLUGIN_STREAM, RUNTIME_STREAM } from "../../src/plugins/nri/mux.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createTtrpcServer } from "../../src/rpc/ttrpc/server.ts";
import { createTtrpcTransportOn } from "../../src/rpc/ttrpc/transport.ts";
import { bindService, type ServiceHandlers } from "../../src/rpc/types.ts";

/** What a plugin does. Methods that are missing answer "unimplemented". */
export interface PluginOptions {
  readonly name: string;
  readonly index: string;
  readonly handlers?: ServiceHandlers<typeof Plugin> | undefined;
  /** Bits of events; 0 = all. */
  readonly events?: number;
  /** Does not register. */
  readonly silent?: boolean;
}

/** A connected plugin. */
export interface TestPlugin {
  /** Names of the methods that were called, in order. */
  readonly calls: readonly string[];
  /** The engine ended the connection. */
  readonly closed: Promise<unknown>;
  /** Resolves when a method was called `count` times. */
  called(method: string, count?: number): Promise<void>;
  update(
    update: MessageInitShape<typeof ContainerUpdateSchema>[],
    evict?: MessageInitShape<typeof ContainerEvictionSchema>[],
  ): Promise<UpdateContainersResponse>;
  close(): void;
}

/** Connects to a socket by path (or takes a stream) and registers. @throws what the engine answers to the registration */
export async function connectPlugin(where: string | Duplex, options: PluginOptions): Promise<TestPlugin> {
  const socket = typeof where === "string" ? connect(where) : where;
  if (typeof where === "string") await once(socket, "connect");
  const mux = new Mux(socket);
  const calls: string[] = [];
  let waiting: (() => void)[] = [];
  const handlers = Object.fromEntries(
    Object.entries({
      configure: () => ({ events: options.events ?? 0 }),
      synchronize: (r: { more: boolean }) => ({ more: r.more }),
      ...options.handlers,
    }).map(([name, handler]) => [
      name,
      (...args: unknown[]) => {
        calls.push(name);
        for (const wake of waiting.splice(0)) wake();
        return (handler as (...given: unknown[]) => unknown)(...args);
      },
    ]),
  ) as ServiceHandlers<typeof Plugin>;
  createTtrpcServer({ services: [bindService(Plugin, handlers)] }).serve(mux.open(PLUGIN_STREAM));
  const transport = createTtrpcTransportOn(mux.open(RUNTIME_STREAM));
  const runtime = createClient(Runtime, transport);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  if (options.silent !== true)
    await runtime.registerPlugin({ pluginName: options.name, pluginIdx: options.index });
  return {
    calls,
    closed,
    async called(method, count = 1) {
      while (calls.filter((name) => name === method).length < count)
        await new Promise<void>((resolve) => {
          waiting = [...waiting, resolve];
        });
    },
    update: (update, evict = []) => runtime.updateContainers({ update, evict }),
    close: () => mux.close(),
  };
}
