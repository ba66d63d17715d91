import type { Duplex } from "node:stream";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { abortError } from "../../core/call.ts";
import { canceled, deadlineExceeded, type GantryError, internal, unavailable } from "../../core/errors.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { decodeMessage, encodeMessage } from "../codec.ts";
import { addressText, type ConnectAddress, openSocket } from "../connect.ts";
import { NAMESPACE_HEADER, NAMESPACE_HEADER_TTRPC } from "../headers.ts";
import { MessageQueue } from "../message-queue.ts";
import { pumpRequests } from "../pump-requests.ts";
import type { ClientCallOptions, Headers, Transport } from "../types.ts";
import { type TtrpcCallEvents, TtrpcClientCall } from "./client-call.ts";
import { ClientChannel } from "./client-channel.ts";
import { MessageFlag } from "./frames.ts";
import { encodeRequest } from "./messages.ts";

/** Options of a ttrpc client. */
export interface TtrpcTransportOptions {
  /** Milliseconds for connecting; 10 s. */
  readonly connectTimeoutMs?: number | undefined;
}

const NO_METADATA: Headers = new Map();

/** A ttrpc client on one address. It connects with the first call, and again with the next call after a loss. */
export function createTtrpcTransport(
  address: ConnectAddress,
  options: TtrpcTransportOptions = {},
): Transport {
  const peer = addressText(address);
  const timeoutMs = options.connectTimeoutMs ?? 10_000;
  let connecting: Promise<ClientChannel> | undefined;
  let channel: ClientChannel | undefined;
  let closed = false;

  const connect = async (limit: number): Promise<ClientChannel> => {
    const socket = await openSocket(address, limit);
    const made: ClientChannel = new ClientChannel(socket, peer, () => {
      if (channel === made) channel = undefined;
    });
    if (closed) made.connection.close();
    else channel = made;
    return made;
  };

  return transportOver(
    () => (channel?.usable === true ? channel : undefined),
    (left) => {
      if (closed) throw unavailable(`call to "${peer}": ttrpc: closed`);
      connecting ??= connect(Math.min(timeoutMs, left ?? timeoutMs)).finally(() => {
        connecting = undefined;
      });
      return connecting;
    },
    async () => {
      closed = true;
      channel?.connection.close();
    },
  );
}

/** A ttrpc client on a connected stream (inherited socket, multiplexed channel). It does not reconnect. */
export function createTtrpcTransportOn(socket: Duplex, peer = "inherited connection"): Transport {
  const channel = new ClientChannel(socket, peer, () => {});
  return transportOver(
    () => (channel.usable ? channel : undefined),
    () => {
      throw unavailable(`call to "${peer}": ttrpc: closed`);
    },
    async () => channel.connection.close(),
  );
}

function transportOver(
  ready: () => ClientChannel | undefined,
  connect: (leftMs: number | undefined) => Promise<ClientChannel>,
  close: () => Promise<void>,
): Transport {
  const start = async (
    method: DescMethod,
    flags: number,
    payload: { readonly parts: readonly Uint8Array[]; readonly length: number },
    call: ClientCallOptions,
    events: TtrpcCallEvents,
  ): Promise<TtrpcClientCall> => {
    const deadline = call.timeoutMs === undefined ? undefined : performance.now() + call.timeoutMs;
    throwIfAborted(call.signal);
    const channel = ready() ?? (await connect(call.timeoutMs));
    throwIfAborted(call.signal);
    const left = deadline === undefined ? undefined : deadline - performance.now();
    if (left !== undefined && left <= 0) throw deadlineExceeded("context deadline exceeded");
    const nanos = left === undefined ? 0n : BigInt(Math.ceil(left * 1e6));
    const request = encodeRequest(
      method.parent.typeName,
      method.name,
      nanos,
      metadata(call.headers),
      payload,
    );
    return new TtrpcClientCall(channel, flags, request, { timeoutMs: left, signal: call.signal }, events);
  };

  return {
    protocol: "ttrpc",
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethod & { input: I; output: O },
      request: MessageInitShape<I>,
      call: ClientCallOptions = {},
    ): Promise<MessageShape<O>> {
      const result = createDeferred<GantryError | undefined>();
      let response: Uint8Array | undefined;
      const running: TtrpcClientCall = await start(method, 0, encodeMessage(method.input, request), call, {
        message(bytes, held) {
          response = bytes;
          if (held) running.taken(bytes.length);
        },
        done: (error) => result.resolve(error),
      });
      const error = await result.promise;
      call.onTrailer?.(NO_METADATA);
      if (error !== undefined) throw error;
      if (response === undefined) throw internal(`call "${method.name}": no response`);
      return decodeMessage(method.output, response);
    },

    stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethod & { input: I; output: O },
      requests: AsyncIterable<MessageInitShape<I>>,
      call: ClientCallOptions = {},
    ): AsyncIterable<MessageShape<O>> {
      let running: TtrpcClientCall | undefined;
      const stop = new AbortController();
      const responses = new MessageQueue<MessageShape<O>>(
        (bytes) => decodeMessage(method.output, bytes),
        (size) => running?.taken(size),
        () => {
          stop.abort();
          running?.cancel(canceled("context canceled"));
        },
      );
      const events: TtrpcCallEvents = {
        message: (bytes, held) => responses.push(bytes, held ? bytes.length : 0),
        done(error) {
          stop.abort();
          call.onTrailer?.(NO_METADATA);
          if (error === undefined) responses.end();
          else responses.endWith(error);
        },
      };
      const run = async (): Promise<void> => {
        if (method.methodKind === "server_streaming" || method.methodKind === "unary") {
          const first = await requests[Symbol.asyncIterator]().next();
          if (first.done === true) throw internal(`call "${method.name}": no request`);
          const flags = method.methodKind === "unary" ? 0 : MessageFlag.REMOTE_CLOSED;
          running = await start(method, flags, encodeMessage(method.input, first.value), call, events);
        } else {
          running = await start(method, MessageFlag.REMOTE_OPEN, NO_PAYLOAD, call, events);
          const started = running;
          await pumpRequests(requests, stop.signal, (value) =>
            started.send(encodeMessage(method.input, value)),
          );
          started.endRequests();
        }
        if (stop.signal.aborted) running.cancel(canceled("context canceled"));
      };
      run().catch((err: unknown) => {
        if (running === undefined) responses.endWith(err);
        else running.cancel(err as GantryError);
      });
      return responses;
    },

    close,
    async [Symbol.asyncDispose]() {
      await close();
    },
  };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

const NO_PAYLOAD = { parts: [], length: 0 };

/** Neutral header names to those of ttrpc. */
function metadata(headers: Headers | undefined): Headers {
  if (headers?.has(NAMESPACE_HEADER) !== true) return headers ?? NO_METADATA;
  const out = new Map(headers);
  out.set(NAMESPACE_HEADER_TTRPC, headers.get(NAMESPACE_HEADER) ?? []);
  out.delete(NAMESPACE_HEADER);
  return out;
}
