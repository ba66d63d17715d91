import type { Duplex } from "node:stream";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { abortError } from "../../core/call.ts";
import { deadlineExceeded, type GantryError, internal, unavailable } from "../../core/errors.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { decodeMessage, type Encoded, encodeMessage } from "../codec.ts";
import { addressText, type ConnectAddress, openSocket } from "../connect.ts";
import { NAMESPACE_HEADER, NAMESPACE_HEADER_TTRPC } from "../headers.ts";
import { pumpRequests } from "../pump-requests.ts";
import { ResponseStream } from "../response-stream.ts";
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
  return new TtrpcTransport(new Reconnecting(address, options.connectTimeoutMs ?? 10_000));
}

/** A ttrpc client on a connected stream (inherited socket, multiplexed channel). It does not reconnect. */
export function createTtrpcTransportOn(socket: Duplex, peer = "inherited connection"): Transport {
  const channel = new ClientChannel(socket, peer, () => {});
  return new TtrpcTransport({
    get ready() {
      return channel.usable ? channel : undefined;
    },
    connect() {
      throw unavailable(`call to "${peer}": ttrpc: closed`);
    },
    close: () => channel.connection.close(),
  });
}

/** Where a client's calls go. */
interface Line {
  /** The channel, when calls can be made on it right now. */
  readonly ready: ClientChannel | undefined;
  /** Makes one, in at most the time a call has left. Milliseconds. @throws unavailable */
  connect(leftMs: number | undefined): Promise<ClientChannel>;
  close(): void;
}

/** A line that is made again when it is lost. */
class Reconnecting implements Line {
  readonly #address: ConnectAddress;
  readonly #timeoutMs: number;
  #connecting: Promise<ClientChannel> | undefined;
  #channel: ClientChannel | undefined;
  #closed = false;

  constructor(address: ConnectAddress, timeoutMs: number) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
  }

  get ready(): ClientChannel | undefined {
    return this.#channel?.usable === true ? this.#channel : undefined;
  }

  connect(leftMs: number | undefined): Promise<ClientChannel> {
    if (this.#closed) throw unavailable(`call to "${addressText(this.#address)}": ttrpc: closed`);
    this.#connecting ??= this.#connect(Math.min(this.#timeoutMs, leftMs ?? this.#timeoutMs)).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  close(): void {
    this.#closed = true;
    this.#channel?.connection.close();
  }

  async #connect(timeoutMs: number): Promise<ClientChannel> {
    const socket = await openSocket(this.#address, timeoutMs);
    const made: ClientChannel = new ClientChannel(socket, addressText(this.#address), () => {
      if (this.#channel === made) this.#channel = undefined;
    });
    if (this.#closed) made.connection.close();
    else this.#channel = made;
    return made;
  }
}

class TtrpcTransport implements Transport {
  readonly protocol = "ttrpc";
  readonly #line: Line;

  constructor(line: Line) {
    this.#line = line;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    call: ClientCallOptions = {},
  ): Promise<MessageShape<O>> {
    const result = createDeferred<GantryError | undefined>();
    let response: Uint8Array | undefined;
    const opening = { flags: 0, payload: encodeMessage(method.input, request) };
    const running: TtrpcClientCall = await this.#start(method, opening, call, {
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
  }

  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    requests: AsyncIterable<MessageInitShape<I>>,
    call: ClientCallOptions = {},
  ): AsyncIterable<MessageShape<O>> {
    let running: TtrpcClientCall | undefined;
    const responses = new ResponseStream<MessageShape<O>>((bytes) => decodeMessage(method.output, bytes));
    const events: TtrpcCallEvents = {
      message: (bytes, held) => responses.push(bytes, held ? bytes.length : 0),
      done(error) {
        call.onTrailer?.(NO_METADATA);
        responses.done(error);
      },
    };
    const run = async (): Promise<void> => {
      if (method.methodKind === "server_streaming" || method.methodKind === "unary") {
        const first = await requests[Symbol.asyncIterator]().next();
        if (first.done === true) throw internal(`call "${method.name}": no request`);
        const flags = method.methodKind === "unary" ? 0 : MessageFlag.REMOTE_CLOSED;
        const opening = { flags, payload: encodeMessage(method.input, first.value) };
        running = await this.#start(method, opening, call, events);
        responses.begun(running);
        return;
      }
      const opening = { flags: MessageFlag.REMOTE_OPEN, payload: NO_PAYLOAD };
      const started = await this.#start(method, opening, call, events);
      running = started;
      responses.begun(started);
      if (responses.stopped.aborted) return;
      await pumpRequests(requests, responses.stopped, (value) =>
        started.send(encodeMessage(method.input, value)),
      );
      started.endRequests();
    };
    run().catch((err: unknown) => {
      if (running === undefined) responses.endWith(err);
      else running.cancel(err as GantryError);
    });
    return responses;
  }

  async close(): Promise<void> {
    this.#line.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #start(
    method: DescMethod,
    opening: { readonly flags: number; readonly payload: Encoded },
    call: ClientCallOptions,
    events: TtrpcCallEvents,
  ): Promise<TtrpcClientCall> {
    const { signal, timeoutMs } = call;
    const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
    throwIfAborted(signal);
    const channel = this.#line.ready ?? (await this.#line.connect(timeoutMs));
    throwIfAborted(signal);
    const left = deadline === undefined ? undefined : deadline - performance.now();
    if (left !== undefined && left <= 0) throw deadlineExceeded("context deadline exceeded");
    const request = encodeRequest({
      service: method.parent.typeName,
      method: method.name,
      timeoutNano: left === undefined ? 0n : BigInt(Math.ceil(left * 1e6)),
      metadata: metadata(call.headers),
      payload: opening.payload,
    });
    return new TtrpcClientCall({
      channel,
      flags: opening.flags,
      request,
      timeoutMs: left,
      signal,
      events,
    });
  }
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
