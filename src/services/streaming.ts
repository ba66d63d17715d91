import { StreamInitSchema, Streaming } from "../api/gen/containerd/services/streaming/v1/streaming_pb.ts";
import { isTypeUrl } from "../api/typeurl.ts";
import type { AnyValue } from "../core/any.ts";
import { invalidArgument, unavailable } from "../core/errors.ts";
import type { AnyStream, StreamManager } from "../core/streaming/streaming.ts";
import { AsyncQueue } from "../lib/async-queue.ts";
import { decodeAny, fromAny, toAny } from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Messages a stream holds before the sender waits. */
const QUEUE = 16;

/** Streaming service: the client names a stream, other services then use it until either side ends it. */
export function streamingService(manager: StreamManager): ServiceBinding {
  return bindService(Streaming, {
    async *stream(requests, { call }) {
      const incoming = requests[Symbol.asyncIterator]();
      const first = await incoming.next();
      if (first.done === true || !isTypeUrl(first.value, StreamInitSchema.typeName))
        throw invalidArgument("the first message of a stream must be StreamInit");
      const { id } = decodeAny(StreamInitSchema, first.value, "first message of a stream");
      const outgoing = new AsyncQueue<AnyValue>(QUEUE);
      // Not one promise that every receive races with: it would hold each message until the end.
      const waiting = new Set<() => void>();
      let closed = false;
      const stream: AnyStream = {
        id,
        async send(message) {
          await outgoing.push(message).catch((err: unknown) => {
            throw unavailable(`send on stream "${id}": closed`, { cause: err });
          });
        },
        async receive(signal) {
          if (closed || signal?.aborted === true) return undefined;
          return await new Promise<AnyValue | undefined>((resolve, reject) => {
            const end = (): void => resolve(undefined);
            waiting.add(end);
            incoming
              .next()
              .then((next) => resolve(next.done === true ? undefined : fromAny(next.value)), reject)
              .finally(() => waiting.delete(end));
          });
        },
        close() {
          outgoing.close();
          closed = true;
          for (const end of waiting) end();
        },
      };
      using _registered = manager.register(call.namespaced(), stream);
      call.signal.addEventListener("abort", () => stream.close(), { once: true });
      // the answer to StreamInit tells the client that the stream can be used
      yield { typeUrl: "google.protobuf.Empty", value: new Uint8Array() };
      for await (const message of outgoing) yield toAny(message);
    },
  });
}
