import { Buffer } from "node:buffer";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { abortError } from "../../core/call.ts";
import { deadlineExceeded, type GantryError, internal } from "../../core/errors.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { decodeMessage, encodeMessage } from "../codec.ts";
import { addressText, type ConnectAddress } from "../connect.ts";
import { H2Code } from "../http2/errors.ts";
import { hpackEncode } from "../http2/hpack-encoder.ts";
import { pumpRequests } from "../pump-requests.ts";
import { ResponseStream } from "../response-stream.ts";
import type { ClientCallOptions, Transport } from "../types.ts";
import { ClientCall, type ClientCallEvents, type ClientCallInit } from "./client-call.ts";
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
  return new GrpcTransport(address, options);
}

class GrpcTransport implements Transport {
  readonly protocol = "grpc";
  readonly #connection: GrpcConnection;
  readonly #limits: Pick<ClientCallInit, "maxReceive" | "maxSend" | "peer">;
  readonly #headers: { readonly scheme: string; readonly authority: string; readonly userAgent: string };
  /** Coded headers that are the same for every call of a method. */
  readonly #blocks = new Map<DescMethod, Uint8Array>();

  constructor(address: ConnectAddress, options: GrpcTransportOptions) {
    const peer = addressText(address);
    this.#connection = new GrpcConnection(address, options.connectTimeoutMs ?? 10_000);
    this.#limits = {
      maxReceive: options.maxReceive ?? DEFAULT_MAX_MESSAGE,
      maxSend: options.maxSend ?? DEFAULT_MAX_MESSAGE,
      peer,
    };
    this.#headers = {
      scheme: "tls" in address && address.tls !== undefined ? "https" : "http",
      authority: "path" in address ? "localhost" : peer,
      userAgent: options.userAgent ?? "gantry",
    };
  }

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
      const events: ClientCallEvents = {
        message(bytes, size) {
          extra = response !== undefined;
          response = bytes;
          running.taken(size);
        },
        done(error, trailers) {
          call.onTrailer?.(trailers);
          result.resolve(error);
        },
      };
      const running: ClientCall = await this.#start(method, call, events, deadline);
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
      if (response === undefined || extra) throw internal(`call "${method.name}": want exactly one response`);
      return decodeMessage(method.output, response);
    }
  }

  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    requests: AsyncIterable<MessageInitShape<I>>,
    call: ClientCallOptions = {},
  ): AsyncIterable<MessageShape<O>> {
    const responses = new ResponseStream<MessageShape<O>>((bytes) => decodeMessage(method.output, bytes));
    const events: ClientCallEvents = {
      message: (bytes, size) => responses.push(bytes, size),
      done(error, trailers) {
        call.onTrailer?.(trailers);
        responses.done(error);
      },
    };
    const pump = (started: ClientCall): Promise<void> =>
      pumpRequests(requests, responses.stopped, (value) =>
        started.send(encodeMessage(method.input, value)),
      ).then(
        () => started.endRequests(),
        (err: unknown) => started.cancel(err as GantryError),
      );
    this.#start(method, call, events, deadlineOf(call)).then(
      (started) => {
        responses.begun(started);
        if (!responses.stopped.aborted) void pump(started);
      },
      (err: unknown) => responses.endWith(err),
    );
    return responses;
  }

  async sent(): Promise<void> {
    await this.#connection.settled();
    // what is written in this turn leaves at its end
    await new Promise((resolve) => setImmediate(resolve));
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @param deadline on the monotonic clock, milliseconds */
  async #start(
    method: DescMethod,
    call: ClientCallOptions,
    events: ClientCallEvents,
    deadline: number | undefined,
  ): Promise<ClientCall> {
    if (call.signal?.aborted === true) throw abortError(call.signal);
    const head = this.#blockOf(method);
    const extra = call.headers === undefined ? [] : metadataFields(call.headers);
    const stream = this.#connection.tryOpen() ?? (await this.#connection.open(call.signal, deadline));
    const left = deadline === undefined ? undefined : deadline - performance.now();
    if (left !== undefined && left <= 0) {
      stream.reset(H2Code.CANCEL);
      throw deadlineExceeded("context deadline exceeded");
    }
    if (left !== undefined) extra.push(["grpc-timeout", formatTimeout(left)]);
    const block = extra.length === 0 ? head : Buffer.concat([head, hpackEncode(extra)]);
    return new ClientCall(stream, block, { ...this.#limits, timeoutMs: left, signal: call.signal }, events);
  }

  #blockOf(method: DescMethod): Uint8Array {
    const known = this.#blocks.get(method);
    if (known !== undefined) return known;
    const { scheme, authority, userAgent } = this.#headers;
    const block = hpackEncode([
      [":method", "POST"],
      [":scheme", scheme],
      [":path", `/${method.parent.typeName}/${method.name}`],
      [":authority", authority],
      ["content-type", "application/grpc"],
      ["user-agent", userAgent],
      ["te", "trailers"],
    ]);
    this.#blocks.set(method, block);
    return block;
  }
}

/** On the monotonic clock, milliseconds. */
function deadlineOf(call: ClientCallOptions): number | undefined {
  return call.timeoutMs === undefined ? undefined : performance.now() + call.timeoutMs;
}
