import type { AnyValue } from "../../core/any.ts";
import { abortError, type Call, type NamespacedCall } from "../../core/call.ts";
import { invalidArgument, messageOf, resourceExhausted, wrap } from "../../core/errors.ts";
import type { Envelope, EventExchange, EventPublisher } from "../../core/events/events.ts";
import { adaptEnvelope } from "../../core/filters/adaptors.ts";
import { compileFilters, type Matcher } from "../../core/filters/filter.ts";
import { checkIdentifier } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import { AsyncQueue } from "../../lib/async-queue.ts";
import { equalBytes } from "../../lib/bytes.ts";
import { nowNs } from "../../lib/time.ts";
import { adaptEvent, encodeEvent } from "./types.ts";

/** Events a subscriber may lag behind before it is cut off. */
const QUEUE = 4096;

/** Events passed on last that are remembered, and the longest payload of one, in bytes. */
const REMEMBERED = 512;
const MOST_REMEMBERED = 4096;

interface Subscriber {
  readonly queue: AsyncQueue<Envelope>;
  readonly match: Matcher | undefined;
}

/** Hands events to whoever subscribed at the time they happen; in order per subscriber, no replay. */
export class Exchange implements EventExchange, EventPublisher {
  readonly #log: Logger;
  readonly #subscribers = new Set<Subscriber>();
  #failures = 0;
  /** Passed on last, as a ring. */
  readonly #forwarded: Envelope[] = [];
  #oldest = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Events of our own that could not be published since the start. */
  get failures(): number {
    return this.#failures;
  }

  publish(call: NamespacedCall, topic: string, event: AnyValue): void {
    checkTopic(topic);
    this.#broadcast({ timestamp: nowNs(), namespace: call.namespace, topic, event });
  }

  forward(_call: Call, envelope: Envelope): void {
    try {
      checkIdentifier(envelope.namespace);
    } catch (err) {
      throw wrap(err, "event envelope has invalid namespace");
    }
    checkTopic(envelope.topic);
    if (envelope.timestamp === 0n) throw invalidArgument("timestamp must be set on forwarded event");
    this.#broadcast(envelope);
    this.#remember(envelope);
  }

  wasForwarded({ timestamp, namespace, topic, event }: Envelope): boolean {
    return this.#forwarded.some(
      (known) =>
        known.timestamp === timestamp &&
        known.namespace === namespace &&
        known.topic === topic &&
        equalBytes(known.event.value, event.value),
    );
  }

  #remember(envelope: Envelope): void {
    const { typeUrl, value } = envelope.event;
    if (value.length > MOST_REMEMBERED) return;
    // a copy, which slice() of a Buffer is not: the bytes are part of a whole read
    this.#forwarded[this.#oldest] = { ...envelope, event: { typeUrl, value: new Uint8Array(value) } };
    this.#oldest = (this.#oldest + 1) % REMEMBERED;
  }

  send(call: NamespacedCall, topic: string, payload: Readonly<Record<string, unknown>>): void {
    if (this.#subscribers.size === 0) return;
    try {
      this.publish(call, topic, encodeEvent(topic, payload));
    } catch (err) {
      this.#failures++;
      this.#log.warn("event was not published", { topic, err: messageOf(err), failures: this.#failures });
    }
  }

  subscribe(call: Call, filters: readonly string[]): AsyncIterable<Envelope> {
    const subscriber: Subscriber = {
      queue: new AsyncQueue<Envelope>(QUEUE),
      match: filters.length === 0 ? undefined : compileFilters(filters),
    };
    const leave = (): void => {
      this.#subscribers.delete(subscriber);
      call.signal.removeEventListener("abort", onAbort);
      subscriber.queue.close();
    };
    const onAbort = (): void => {
      const reason = abortError(call.signal);
      if (reason.code === "deadline-exceeded") subscriber.queue.fail(reason);
      leave();
    };
    // from now on, not from the first read on
    this.#subscribers.add(subscriber);
    call.signal.addEventListener("abort", onAbort);
    if (call.signal.aborted) onAbort();
    return (async function* () {
      try {
        yield* subscriber.queue;
      } finally {
        leave();
      }
    })();
  }

  #broadcast(envelope: Envelope): void {
    let adaptor: ReturnType<typeof adaptEnvelope> | undefined;
    for (const subscriber of this.#subscribers) {
      if (subscriber.match !== undefined) {
        adaptor ??= adaptEnvelope(envelope, adaptEvent(envelope.event));
        if (!subscriber.match(adaptor)) continue;
      }
      if (subscriber.queue.tryPush(envelope)) continue;
      this.#subscribers.delete(subscriber);
      subscriber.queue.fail(resourceExhausted(`event subscriber is ${QUEUE} events behind`));
    }
  }
}

/** @throws invalid-argument in containerd's words */
export function checkTopic(topic: string): void {
  const context = `envelope topic "${topic}"`;
  if (topic === "") throw invalidArgument(`${context}: must not be empty`);
  if (!topic.startsWith("/")) throw invalidArgument(`${context}: must start with '/'`);
  if (topic.length === 1) throw invalidArgument(`${context}: must have at least one component`);
  for (const part of topic.slice(1).split("/")) {
    try {
      checkIdentifier(part);
    } catch (err) {
      throw wrap(err, `${context}: failed validation on component "${part}"`);
    }
  }
}
