/** Length-prefixed messages of gRPC: one flag byte, length as u32 big endian, the message. */
import { Buffer } from "node:buffer";
import { internal, resourceExhausted } from "../../core/errors.ts";
import { Assembler } from "../assembler.ts";
import type { Encoded } from "../codec.ts";

/** Message limit of both directions unless the options say otherwise: containerd's 16 MiB. */
export const DEFAULT_MAX_MESSAGE = 16 << 20;
const PREFIX = 5;

/** What {@link MessageReader} finds. */
export interface MessageSink {
  /** A message is complete; `size` counts the prefix too. The bytes belong to the receiver. */
  message(bytes: Uint8Array, size: number): void;
  /** A message of `total` bytes is incomplete; called once for it. */
  incomplete(total: number, missing: number): void;
}

/** Cuts DATA into messages. Message bytes are copied out of the socket's chunks, so none is kept alive. */
export class MessageReader {
  readonly #max: number;
  readonly #sink: MessageSink;
  readonly #prefix = new Uint8Array(PREFIX);
  #prefixFill = 0;
  #length = -1;
  readonly #body = new Assembler();
  #announced = false;

  constructor(max: number, sink: MessageSink) {
    this.#max = max;
    this.#sink = sink;
  }

  /** True inside a message. */
  get partial(): boolean {
    return this.#length >= 0 || this.#prefixFill > 0;
  }

  /** @throws resource-exhausted from the announced length; internal for a compressed message */
  push(piece: Uint8Array): void {
    let at = 0;
    while (at < piece.length) {
      if (this.#length < 0) {
        this.#prefix[this.#prefixFill++] = piece[at++] as number;
        if (this.#prefixFill < PREFIX) continue;
        this.#begin();
        if (this.#length === 0) this.#finish(EMPTY);
        continue;
      }
      at += this.#body.add(piece, at);
      if (this.#body.missing === 0) this.#finish(this.#body.take());
    }
    if (this.#length > 0 && !this.#announced) {
      this.#announced = true;
      this.#sink.incomplete(PREFIX + this.#length, this.#body.missing);
    }
  }

  #begin(): void {
    const p = this.#prefix;
    const length =
      (((p[1] as number) << 24) | ((p[2] as number) << 16) | ((p[3] as number) << 8) | (p[4] as number)) >>>
      0;
    if (length > this.#max)
      throw resourceExhausted(`grpc: received message larger than max (${length} vs. ${this.#max})`);
    if (p[0] !== 0) throw internal("grpc: compressed flag set with identity or empty encoding");
    this.#length = length;
    this.#body.begin(length);
    this.#prefixFill = 0;
    this.#announced = false;
  }

  #finish(bytes: Uint8Array): void {
    const size = PREFIX + this.#length;
    this.#length = -1;
    this.#sink.message(bytes, size);
  }
}

const EMPTY = new Uint8Array(0);

/**
 * The parts of a message on the wire; the message's own parts are not copied.
 * @throws resource-exhausted when it is larger than `max`
 */
export function frameMessage(message: Encoded, max: number): Uint8Array[] {
  if (message.length > max)
    throw resourceExhausted(`grpc: trying to send message larger than max (${message.length} vs. ${max})`);
  const prefix = Buffer.allocUnsafe(PREFIX);
  prefix[0] = 0;
  prefix.writeUInt32BE(message.length, 1);
  return [prefix, ...message.parts];
}
