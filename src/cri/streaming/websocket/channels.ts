import { canceled, invalidArgument } from "../../../core/errors.ts";
import { base64Decode, base64Encode, utf8Decode, utf8Encode } from "../../../lib/bytes.ts";
import type { ByteSink } from "../runtime.ts";
import type { MessagePiece, WebSocketConnection } from "./connection.ts";
import { BINARY, TEXT } from "./frames.ts";

/** Bytes of a message we send. */
const MAX_MESSAGE = 32 << 10;
/** Channel of protocol 5 whose messages close the channel they name. */
const CLOSE_CHANNEL = 255;
/** Position of channel 0 in messages that are text. */
const ZERO = 0x30;

/** Who takes what arrives. */
export interface ChannelHandler {
  /** Bytes of a channel; the connection reads on when this resolves. */
  received(channel: number, bytes: Uint8Array): Promise<void>;
  /** The client closed a channel (protocol 5). */
  closed(channel: number): void;
}

/** How messages look. */
export interface ChannelFormat {
  /** Messages are text: a digit, then base64. */
  readonly base64: boolean;
  /** Channel 255 closes channels. */
  readonly closes: boolean;
}

/** Kubernetes' channels over a WebSocket: each message starts with a byte that names its channel. */
export class Channels {
  readonly #socket: WebSocketConnection;
  readonly #format: ChannelFormat;

  constructor(socket: WebSocketConnection, format: ChannelFormat) {
    this.#socket = socket;
    this.#format = format;
  }

  /** Sends bytes on a channel, also none at all. */
  async send(channel: number, bytes: Uint8Array): Promise<void> {
    if (!this.#format.base64) return this.#socket.send(BINARY, Uint8Array.of(channel), bytes);
    return this.#socket.send(TEXT, utf8Encode(`${channel}${base64Encode(bytes)}`));
  }

  /** A sink that sends on `channel`. Closing sends nothing: the protocols have no message for it in this direction. */
  sink(channel: number): ByteSink {
    let open = true;
    return {
      write: async (chunk) => {
        for (let at = 0; at < chunk.length; at += MAX_MESSAGE) {
          if (!open) throw canceled(`write to channel ${channel}: closed`);
          await this.send(channel, chunk.subarray(at, at + MAX_MESSAGE));
        }
      },
      close: async () => {
        open = false;
      },
    };
  }

  /**
   * Reads until the client closes.
   * @throws invalid-argument, resource-exhausted on a broken client
   */
  async read(handler: ChannelHandler): Promise<void> {
    let channel = -1;
    let rest = "";
    for await (const piece of this.#socket.read()) {
      if (piece.first) {
        channel = -1;
        rest = "";
      }
      let bytes = piece.bytes;
      if (channel < 0 && bytes.length > 0) {
        channel = this.#format.base64 ? (bytes[0] ?? 0) - ZERO : (bytes[0] ?? 0);
        if (channel < 0) throw invalidArgument("read channel message: no channel number");
        bytes = bytes.subarray(1);
      }
      if (this.#format.base64) {
        const text = rest + utf8Decode(bytes);
        const whole = piece.last ? text.length : text.length - (text.length % 4);
        rest = text.slice(whole);
        bytes = decode(text.slice(0, whole));
      }
      await this.#deliver(channel, bytes, piece, handler);
    }
  }

  async #deliver(
    channel: number,
    bytes: Uint8Array,
    piece: MessagePiece,
    handler: ChannelHandler,
  ): Promise<void> {
    if (channel === CLOSE_CHANNEL && this.#format.closes) {
      for (const closed of bytes) handler.closed(closed);
    } else if (bytes.length > 0 && channel >= 0) await handler.received(channel, bytes);
    else if (piece.last && channel < 0) throw invalidArgument("read channel message: empty");
  }
}

function decode(text: string): Uint8Array {
  try {
    return base64Decode(text);
  } catch (cause) {
    throw invalidArgument("read channel message: no base64", { cause });
  }
}
