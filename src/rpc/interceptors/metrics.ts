import type { DescMethod } from "@bufbuild/protobuf";
import { grpcCodeName, toStatus } from "../status.ts";
import type { HandlerContext, Interceptor, ServiceBinding } from "../types.ts";

/** One counter: calls of a method that ended with a code (exported as `grpc_server_handled_total`). */
export interface HandledCount {
  /** `package.Service` */
  readonly service: string;
  readonly method: string;
  /** `unary`, `client_stream`, `server_stream`, `bidi_stream`: the label values of Go's gRPC metrics. */
  readonly type: string;
  /** `OK`, `NotFound`, ... */
  readonly code: string;
  readonly count: number;
}

/** Calls of a method that started (exported as `grpc_server_started_total`). */
export type StartedCount = Omit<HandledCount, "code">;

/** Messages of a method (exported as `grpc_server_msg_received_total` and `grpc_server_msg_sent_total`). */
export interface MessageCount extends Omit<StartedCount, "count"> {
  readonly received: number;
  readonly sent: number;
}

/** Time spent in a method's handlers (exported as `grpc_server_handling_seconds`, histogram). */
export interface HandlingTime extends StartedCount {
  readonly seconds: number;
  /** Cumulative counts for {@link HANDLING_BUCKETS}. */
  readonly buckets: readonly number[];
}

/** Upper bounds in seconds of the handling time histogram. */
export const HANDLING_BUCKETS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A call that has not ended. */
export interface OpenCall {
  /** `/package.Service/Method` */
  readonly method: string;
  /** "" when none was sent. */
  readonly namespace: string;
  /** `performance.now()` at its start. */
  readonly since: number;
  /** Streams live as long as their client wants; unary calls do not. */
  readonly streaming: boolean;
}

/** Counters of a server, and the interceptor that feeds them. */
export interface RpcMetrics {
  readonly interceptor: Interceptor;
  /** Makes every method of the services known, so that its counters are there, as zero, before its first call. */
  register(services: readonly ServiceBinding[]): void;
  /** Calls that run now, oldest first. */
  open(): readonly OpenCall[];
  snapshot(): {
    readonly started: readonly StartedCount[];
    readonly messages: readonly MessageCount[];
    readonly handled: readonly HandledCount[];
    readonly handling: readonly HandlingTime[];
  };
}

interface MethodCounters {
  readonly service: string;
  readonly method: string;
  readonly type: string;
  started: number;
  ended: number;
  seconds: number;
  /** Of calls that ended. */
  received: number;
  sent: number;
  readonly buckets: number[];
  readonly codes: Map<string, number>;
}

const TYPES = {
  unary: "unary",
  client_streaming: "client_stream",
  server_streaming: "server_stream",
  bidi_streaming: "bidi_stream",
} as const;

/** An open call and where its messages are counted. */
interface Entry extends OpenCall {
  readonly counters: MethodCounters;
  readonly context: HandlerContext;
}

/** Makes counters for one server. A method that was not registered appears when it is called first. */
export function createRpcMetrics(): RpcMetrics {
  const methods = new Map<string, MethodCounters>();
  const running = new Set<Entry>();
  return {
    open: () => [...running],
    register(services) {
      for (const { service, more = [] } of services) {
        for (const method of service.methods) {
          const path = `/${service.typeName}/${method.name}`;
          if (methods.has(path)) continue;
          const counters = freshCounters(method);
          counters.codes.set("OK", 0);
          methods.set(path, counters);
        }
        this.register(more);
      }
    },
    async interceptor(method, context, next) {
      let counters = methods.get(context.method);
      if (counters === undefined) {
        counters = freshCounters(method);
        methods.set(context.method, counters);
      }
      counters.started++;
      const start = performance.now();
      const entry: Entry = {
        counters,
        context,
        method: context.method,
        namespace: context.call.namespace ?? "",
        since: start,
        streaming: method.methodKind !== "unary",
      };
      running.add(entry);
      let code = "OK";
      try {
        await next();
      } catch (err) {
        code = grpcCodeName(toStatus(err).code);
        throw err;
      } finally {
        running.delete(entry);
        counters.received += context.received ?? 0;
        counters.sent += context.sent ?? 0;
        end(counters, code, (performance.now() - start) / 1000);
      }
    },
    snapshot() {
      const all = [...methods.values()];
      const open = (counters: MethodCounters, what: "received" | "sent"): number =>
        [...running].reduce((sum, r) => sum + (r.counters === counters ? (r.context[what] ?? 0) : 0), 0);
      return {
        started: all.map((c) => ({ ...labels(c), count: c.started })),
        messages: all.map((c) => ({
          ...labels(c),
          received: c.received + open(c, "received"),
          sent: c.sent + open(c, "sent"),
        })),
        handled: all.flatMap((c) => [...c.codes].map(([code, count]) => ({ ...labels(c), code, count }))),
        handling: all
          .filter((c) => c.ended > 0)
          .map((c) => ({
            ...labels(c),
            count: c.ended,
            seconds: c.seconds,
            buckets: [...c.buckets],
          })),
      };
    },
  };
}

function freshCounters(method: DescMethod): MethodCounters {
  return {
    service: method.parent.typeName,
    method: method.name,
    type: TYPES[method.methodKind],
    started: 0,
    ended: 0,
    seconds: 0,
    received: 0,
    sent: 0,
    buckets: HANDLING_BUCKETS.map(() => 0),
    codes: new Map(),
  };
}

function end(counters: MethodCounters, code: string, seconds: number): void {
  counters.codes.set(code, (counters.codes.get(code) ?? 0) + 1);
  counters.ended++;
  counters.seconds += seconds;
  HANDLING_BUCKETS.forEach((bound, i) => {
    if (seconds <= bound) counters.buckets[i] = (counters.buckets[i] ?? 0) + 1;
  });
}

function labels(counters: MethodCounters): { service: string; method: string; type: string } {
  return { service: counters.service, method: counters.method, type: counters.type };
}
