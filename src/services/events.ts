import { Events } from "../api/gen/containerd/services/events/v1/events_pb.ts";
import { Events as TtrpcEvents } from "../api/gen/containerd/services/ttrpc/events/v1/events_pb.ts";
import type { Envelope as WireEnvelope } from "../api/gen/containerd/types/event_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Envelope, EventExchange } from "../core/events/events.ts";
import { fromAny, fromTimestamp, toAny, toTimestamp } from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Events service of the gRPC socket. */
export function eventsService(exchange: EventExchange): ServiceBinding {
  return bindService(Events, {
    publish(request, { call }) {
      if (request.event === undefined) throw invalidArgument("event is required");
      exchange.publish(call.namespaced(), request.topic, fromAny(request.event));
      return {};
    },
    forward(request, { call }) {
      exchange.forward(call, fromWire(request.envelope));
      return {};
    },
    async *subscribe(request, { call }) {
      for await (const envelope of exchange.subscribe(call, request.filters)) yield toWire(envelope);
    },
  });
}

/** Events service of the ttrpc socket: where shims forward to. */
export function ttrpcEventsService(exchange: EventExchange): ServiceBinding {
  return bindService(TtrpcEvents, {
    forward(request, { call }) {
      exchange.forward(call, fromWire(request.envelope));
      return {};
    },
  });
}

function fromWire(e: WireEnvelope | undefined): Envelope {
  if (e === undefined) throw invalidArgument("envelope is required");
  if (e.event === undefined) throw invalidArgument("envelope without event");
  return {
    timestamp: fromTimestamp(e.timestamp),
    namespace: e.namespace,
    topic: e.topic,
    event: fromAny(e.event),
  };
}

function toWire(e: Envelope) {
  return {
    timestamp: toTimestamp(e.timestamp),
    namespace: e.namespace,
    topic: e.topic,
    event: toAny(e.event),
  };
}
