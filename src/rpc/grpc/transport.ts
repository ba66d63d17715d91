import { Buffer } from "node:buffer";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { abortError } from "../../core/call.ts";
import { canceled, deadlineExceeded, type GantryError, internal } from "../../core/errors.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { decodeMessage, encodeMessage } from "../codec.ts";
import { addressText, type ConnectAddress } from "../connect.ts";
import { H2Code } from "../http2/errors.ts";
import { hpackEncode } from "../http2/hpack-encoder.ts";
import { MessageQueue } from "../message-queue.ts";
import { pumpRequests } from "../pump-requests.ts";
import type { ClientCallOptions, Transport } from "../types.ts";
import { ClientCall, type ClientCallEvents } from "./client-call.ts";
import { GrpcConnection } from "./connection.ts";
import { DEFAULT_MAX_MESSAGE } from "./framing.ts";
import { formatTimeout, metadataFields } from "./metadata.ts";

/** Options of a gRPC client. */
export interface GrpcTransportOptions {
  /** Bytes; 16 MiB. */
  readonly maxReceive?: number | undefined;
  /** Bytes; 16 MiB. */
  readonly maxSend?: number | undefined;
  /** Milliseconds for connecting; 10 s. */
  readonly connectTimeoutMs?: number | undefined;
  /** Sent as `user-agent`. */
  readonly userAgent?: string | undefined;
}

/** How often a call that the server surely did not process is sent again. */
const RETRIES = 3;

/**
 * A gRPC client on one address. It connects with the first call, and again with the next call after the connection
 * was lost or the server said goodbye.
 */
export function createGrpcTransport(address: ConnectAddress, options: GrpcTransportOptions = {}): Transport {
  const peer = addressText(address);
  const maxReceive = options.maxReceive ?? DEFAULT_MAX_MESSAGE;
  const maxSend = options.maxSend ?? DEFAULT_MAX_MESSAGE;
  const connection = new GrpcConnection(address, options.connectTimeoutMs ?? 10_000);
  const authority = "path" in address ? "localhost" : peer;
  const userAgent = options.userAgent ?? "gantry";
  const scheme = "tls" in address && address.tls !== undefined ? "https" : "http";
  const fixed = new Map<DescMethod, Uint8Array>();

  const start = async (
    method: DescMethod,
    call: ClientCallOptions,
    events: ClientCallEvents,
    deadline: number | undefined,
  ): Promise<ClientCall> => {
    if (call.signal?.aborted === true) throw abortError(call.signal);
    let head = fixed.get(method);
    if (head === undefined) {
      head = hpackEncode([
        [":method", "POST"],
        [":scheme", scheme],
        [":path", `/${method.parent.typeName}/${method.name}`],
        [":authority", authority],
        ["content-type", "application/grpc"],
        ["user-agent", userAgent],
        ["te", "trailers"],
      ]);
      fixed.set(method, head);
    }
    const extra = call.headers === undefined ? [] : metadataFields(call.headers);
    const stream = connection.tryOpen() ?? (await connection.open(call.signal, deadline));
    const left = deadline === undefined ? undefined : deadline - performance.now();
    if (left !== undefined && left <= 0) {
      stream.reset(H2Code.CANCEL);
      throw deadlineExceeded("context deadline exceeded");
    }
    if (left !== undefined) extra.push(["grpc-timeout", formatTimeout(left)]);
    const block = extra.length === 0 ? head : Buffer.concat([head, hpackEncode(extra)]);
    const init = { maxReceive, maxSend, timeoutMs: left, signal: call.signal, peer };
    return new ClientCall(stream, block, init, events);
  };

  const deadlineOf = (call: ClientCallOptions): number | undefined =>
    call.timeoutMs === undefined ? undefined : performance.now() + call.timeoutMs;

  return {
    protocol: "grpc",
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethod & { input: I; output: O },
      request: MessageInitShape<I>,
      call: ClientCallOptions = {},
    ): Promise<MessageShape<O>> {
      const message = encodeMessage(method.input, request);
      const deadline = deadlineOf(call);
      for (let attempt = 0; ; attempt++) {
        let response: Uint8Array | undefined;
        let extra = false;
        const result = createDeferred<GantryError | undefined>();
        const running: ClientCall = await start(
          method,
          call,
          {
            message(bytes, size) {
              extra = response !== undefined;
              response = bytes;
              running.consume(size);
            },
            done(error, trailers) {
              call.onTrailer?.(trailers);
              result.resolve(error);
            },
          },
          deadline,
        );
        try {
          running.send(message);
        } catch (err) {
          running.cancel(err as GantryError);
        }
        running.endRequests();
        const error = await result.promise;
        if (error !== undefined) {
          if (running.refused && attempt < RETRIES) continue;
          throw error;
        }
        if (response === undefined || extra)
          throw internal(`call "${method.name}": want exactly one response`);
        return decodeMessage(method.output, response);
      }
    },

    stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethod & { input: I; output: O },
      requests: AsyncIterable<MessageInitShape<I>>,
      call: ClientCallOptions = {},
    ): AsyncIterable<MessageShape<O>> {
      let running: ClientCall | undefined;
      const stop = new AbortController();
      const cancel = (): void => {
        stop.abort();
        running?.cancel(canceled("context canceled"));
      };
      const responses = new MessageQueue<MessageShape<O>>(
        (bytes) => decodeMessage(method.output, bytes),
        (size) => running?.consume(size),
        cancel,
      );
      const events: ClientCallEvents = {
        message: (bytes, size) => responses.push(bytes, size),
        done(error, trailers) {
          call.onTrailer?.(trailers);
          stop.abort();
          if (error === undefined) responses.end();
          else responses.endWith(error);
        },
      };
      start(method, call, events, deadlineOf(call)).then(
        (started) => {
          running = started;
          if (stop.signal.aborted) started.cancel(canceled("context canceled"));
          else
            pumpRequests(requests, stop.signal, (value) =>
              started.send(encodeMessage(method.input, value)),
            ).then(
              () => started.endRequests(),
              (err: unknown) => started.cancel(err as GantryError),
            );
        },
        (err: unknown) => responses.endWith(err),
      );
      return responses;
    },

    async sent() {
      await connection.settled();
      // what is written in this turn leaves at its end
      await new Promise((resolve) => setImmediate(resolve));
    },

    async close() {
      await connection.close();
    },
    async [Symbol.asyncDispose]() {
      await connection.close();
    },
  };
}
