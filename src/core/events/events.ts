/** Event exchange: publish and subscribe, without replay. */
import type { AnyValue, TimeNs } from "../any.ts";
import type { Call, NamespacedCall } from "../call.ts";

/** An event on its way. */
export interface Envelope {
  readonly timestamp: TimeNs;
  readonly namespace: string;
  /** `/part/part...`, each part an identifier. */
  readonly topic: string;
  readonly event: AnyValue;
}

/** The exchange. */
export interface EventExchange {
  /** Publishes in the call's namespace, stamped now. @throws invalid-argument (topic) */
  publish(call: NamespacedCall, topic: string, event: AnyValue): void;
  /** Passes on an event that carries its own time and namespace (from shims). @throws invalid-argument */
  forward(call: Call, envelope: Envelope): void;
  /** Whether this very event was passed on a moment ago (it is among the last few hundred). */
  wasForwarded(envelope: Envelope): boolean;
  /**
   * Subscribes from now on, until the call ends. Filters as in filters/ over `namespace`, `topic`, `event.*`; any match.
   * A subscriber that does not read is cut off with resource-exhausted when its queue is full.
   * @throws invalid-argument (filter)
   */
  subscribe(call: Call, filters: readonly string[]): AsyncIterable<Envelope>;
}

/** Encodes typed events; implemented in plugins/events over generated types so that core and stores stay free of them. */
export interface EventPublisher {
  /** Publishes by containerd's topic with its payload as a plain record; failures are logged and counted, never thrown. */
  send(call: NamespacedCall, topic: string, payload: Readonly<Record<string, unknown>>): void;
}
