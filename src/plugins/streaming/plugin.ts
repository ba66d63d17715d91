/** `io.containerd.streaming.v1.manager`: the streams clients opened, by namespace and id. */
import type { NamespacedCall } from "../../core/call.ts";
import { alreadyExists, invalidArgument, notFound } from "../../core/errors.ts";
import { STREAMING } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import type { AnyStream, StreamManager } from "../../core/streaming/streaming.ts";

/** Keeps streams by name until they are disposed. */
export class StreamTable implements StreamManager {
  readonly #streams = new Map<string, AnyStream>();

  /** Number of open streams. */
  get size(): number {
    return this.#streams.size;
  }

  register(call: NamespacedCall, stream: AnyStream): Disposable {
    if (stream.id === "") throw invalidArgument("stream id must not be empty");
    const key = `${call.namespace} ${stream.id}`;
    if (this.#streams.has(key)) throw alreadyExists(`stream "${stream.id}"`);
    this.#streams.set(key, stream);
    return {
      [Symbol.dispose]: () => {
        if (this.#streams.get(key) === stream) this.#streams.delete(key);
      },
    };
  }

  get(call: NamespacedCall, id: string): AnyStream {
    const stream = this.#streams.get(`${call.namespace} ${id}`);
    if (stream === undefined) throw notFound(`stream "${id}"`);
    return stream;
  }
}

export default definePlugin({
  kind: STREAMING,
  id: "manager",
  requires: {},
  config: noConfig,
  onFailure: "fatal",
  init: () => new StreamTable(),
});
