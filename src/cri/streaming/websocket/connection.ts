import { Buffer } from "node:buffer";
import { canceled, type GantryError, invalidArgument, resourceExhausted } from "../../../core/errors.ts";
import type { StreamingLimits } from "../limits.ts";
import type { ByteTransport } from "../transport.ts";
import * as w from "./frames.ts";

/** A piece of a message, as it arrives. */
export interface MessagePiece {
  readonly text: boolean;
  /** First piece of the message. */
  readonly first: boolean;
  /** Last piece of the message. */
  readonly last: boolean;
  readonly bytes: Uint8Array;
}

/**
 * The server's side of one WebSocket (RFC 6455), own code so that both runtimes have the same limits and backpressure (Bun
 * replaces the npm package `ws` by its own). Messages are handed on in pieces: nothing is collected.
 */
export class WebSocketConnection {
  readonly #transport: ByteTransport;
  readonly #limits: Pick<StreamingLimits, "webSocketFrameBytes">;
  #closeSent = false;

  constructor(transport: ByteTransport, limits: Pick<StreamingLimits, "webSocketFrameBytes">) {
    this.#transport = transport;
    this.#limits = limits;
  }

  /** Aborted when the connection is gone. */
  get signal(): AbortSignal {
    return this.#transport.signal;
  }

  /** Sends one message. @throws canceled when the connection is gone or closing */
  async send(opcode: number, ...parts: readonly Uint8Array[]): Promise<void> {
    this.#checkOpen();
    await this.#transport.write(w.frame(opcode, ...parts));
  }

  /** Sends one message as {@link ByteTransport.reply} does. */
  async reply(opcode: number, ...parts: readonly Uint8Array[]): Promise<void> {
    this.#checkOpen();
    await this.#transport.reply(w.frame(opcode, ...parts));
  }

  /** Sends a close frame and what is queued, and ends the connection. Never throws. */
  async end(code: number = w.NORMAL_CLOSURE): Promise<void> {
    await this.#sendClose(code);
    await this.#transport.end();
  }

  /** Drops the connection. */
  destroy(): void {
    this.#transport.destroy();
  }

  /**
   * Pieces of messages until the client closes. Pings are answered on the way.
   * @throws invalid-argument, resource-exhausted when the client breaks the protocol or a limit (the close frame is sent)
   */
  async *read(): AsyncGenerator<MessagePiece, void, undefined> {
    const header = new Uint8Array(w.MAX_HEADER);
    let headerBytes = 0;
    let frame: w.FrameStart | undefined;
    let done = 0;
    let control: Uint8Array[] = [];
    let message: { text: boolean; first: boolean } | undefined;
    for await (const chunk of this.#transport.read()) {
      for (let at = 0; at < chunk.length; ) {
        if (frame === undefined) {
          header[headerBytes++] = chunk[at++] ?? 0;
          if (headerBytes < 2 || headerBytes < w.headerLength(header[1] ?? 0)) continue;
          frame = w.parseFrameStart(header.subarray(0, headerBytes));
          headerBytes = 0;
          done = 0;
          control = [];
          await this.#check(frame, message !== undefined);
          if (frame.opcode === w.TEXT || frame.opcode === w.BINARY) {
            message = { text: frame.opcode === w.TEXT, first: true };
          }
          if (frame.length > 0) continue;
        }
        const bytes = chunk.subarray(at, at + frame.length - done);
        w.unmask(bytes, frame.mask ?? new Uint8Array(4), done);
        at += bytes.length;
        done += bytes.length;
        const whole = done === frame.length;
        if (frame.opcode >= w.CLOSE) {
          control.push(bytes.slice());
          if (whole && !(await this.#control(frame.opcode, Buffer.concat(control)))) return;
        } else if (message !== undefined) {
          const last = frame.fin && whole;
          yield { text: message.text, first: message.first, last, bytes };
          message = last ? undefined : { text: message.text, first: false };
        }
        if (whole) frame = undefined;
      }
    }
  }

  /** Nothing may follow a close frame. */
  #checkOpen(): void {
    if (this.#closeSent) throw canceled("send websocket message: closed");
  }

  async #check(frame: w.FrameStart, inMessage: boolean): Promise<void> {
    const control = frame.opcode >= w.CLOSE;
    if (frame.mask === undefined) throw await this.#broken("not masked");
    if (frame.reserved !== 0) throw await this.#broken("reserved bits set");
    if (frame.opcode > w.PONG || (frame.opcode > w.BINARY && !control)) {
      throw await this.#broken(`opcode ${frame.opcode}`);
    }
    if (control && (!frame.fin || frame.length > w.MAX_CONTROL)) {
      throw await this.#broken("control frame too long or in parts");
    }
    if (!control && (frame.opcode === w.CONTINUATION) !== inMessage) {
      throw await this.#broken(inMessage ? "message inside a message" : "continuation of nothing");
    }
    if (frame.length > this.#limits.webSocketFrameBytes) {
      await this.#sendClose(w.TOO_BIG);
      throw resourceExhausted(
        `read websocket frame: ${frame.length} bytes, at most ${this.#limits.webSocketFrameBytes}`,
      );
    }
  }

  /** @returns false when the client closed */
  async #control(opcode: number, payload: Uint8Array): Promise<boolean> {
    if (opcode === w.PING) await this.#transport.reply(w.frame(w.PONG, payload));
    if (opcode !== w.CLOSE) return true;
    await this.#sendClose(w.NORMAL_CLOSURE);
    return false;
  }

  async #broken(what: string): Promise<GantryError> {
    await this.#sendClose(w.PROTOCOL_ERROR);
    return invalidArgument(`read websocket frame: ${what}`);
  }

  async #sendClose(code: number): Promise<void> {
    if (this.#closeSent) return;
    this.#closeSent = true;
    await this.#transport.reply(w.closeFrame(code)).catch(() => {});
  }
}

/** A WebSocket whose binary messages carry another protocol's bytes: SPDY tunnelled by port-forward clients. */
export function tunnel(socket: WebSocketConnection, transport: ByteTransport): ByteTransport {
  return {
    signal: transport.signal,
    async *read() {
      for await (const piece of socket.read()) yield piece.bytes;
    },
    write: (chunk) => socket.send(w.BINARY, chunk),
    reply: (chunk) => socket.reply(w.BINARY, chunk),
    end: () => socket.end(),
    destroy: () => transport.destroy(),
  };
}
