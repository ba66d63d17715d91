/** Opens streams at the streaming service and runs transfers. */
import { create, toBinary } from "@bufbuild/protobuf";
import { StreamInitSchema, Streaming } from "../api/gen/containerd/services/streaming/v1/streaming_pb.ts";
import { Transfer } from "../api/gen/containerd/services/transfer/v1/transfer_pb.ts";
import type { AnyValue } from "../core/any.ts";
import type { NamespacedCall } from "../core/call.ts";
import { unavailable } from "../core/errors.ts";
import type { AnyStream } from "../core/streaming/streaming.ts";
import { AsyncQueue } from "../lib/async-queue.ts";
import { createClient } from "../rpc/client.ts";
import { fromAny, toAny } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Messages that wait for the wire before `send` waits. */
const QUEUE = 16;

/** Opens the stream `id`; resolves when the server has registered it. */
export async function openStream(transport: Transport, call: NamespacedCall, id: string): Promise<AnyStream> {
  const outgoing = new AsyncQueue<ReturnType<typeof toAny>>(QUEUE);
  await outgoing.push({
    typeUrl: StreamInitSchema.typeName,
    value: toBinary(StreamInitSchema, create(StreamInitSchema, { id })),
  });
  const incoming = createClient(Streaming, transport)
    .stream(outgoing, callOptions(call))
    [Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true) throw unavailable(`open stream "${id}": the server ended it`);
  return {
    id,
    async send(message: AnyValue) {
      await outgoing.push(toAny(message));
    },
    async receive() {
      const next = await incoming.next();
      return next.done === true ? undefined : fromAny(next.value);
    },
    close() {
      outgoing.close();
    },
  };
}

/** Runs a transfer; progress goes to `progressStream` when given. */
export async function transfer(
  transport: Transport,
  call: NamespacedCall,
  source: AnyValue,
  destination: AnyValue,
  progressStream = "",
): Promise<void> {
  await createClient(Transfer, transport).transfer(
    { source: toAny(source), destination: toAny(destination), options: { progressStream } },
    callOptions(call),
  );
}
