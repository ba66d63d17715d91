/** Publish and subscribe over the events service. */
import { Events } from "../api/gen/containerd/services/events/v1/events_pb.ts";
import type { AnyValue } from "../core/any.ts";
import type { Call, NamespacedCall } from "../core/call.ts";
import type { Envelope } from "../core/events/events.ts";
import { createClient } from "../rpc/client.ts";
import { fromAnyMaybe, fromTimestamp, toAny } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** What a client can do with events. */
export interface EventsClient {
  publish(call: NamespacedCall, topic: string, event: AnyValue): Promise<void>;
  /** Events from now on, until the call ends. */
  subscribe(call: Call, filters: readonly string[]): AsyncIterable<Envelope>;
}

/** Makes the client. */
export function eventsClient(transport: Transport): EventsClient {
  const client = createClient(Events, transport);
  return {
    async publish(call, topic, event) {
      await client.publish({ topic, event: toAny(event) }, callOptions(call));
    },
    async *subscribe(call, filters) {
      for await (const e of client.subscribe({ filters: [...filters] }, callOptions(call))) {
        yield {
          timestamp: fromTimestamp(e.timestamp),
          namespace: e.namespace,
          topic: e.topic,
          event: fromAnyMaybe(e.event) ?? { typeUrl: "", value: new Uint8Array() },
        };
      }
    },
  };
}
