/**
 * What each frame of the peer does to a connection (RFC 9113, 6), and in which order frames may come. Frames that are wrong
 * for their stream reset it; frames that are wrong for the connection throw, which ends it.
 */
import { H2Code, H2ConnectionError, H2StreamError, h2CodeName } from "./errors.ts";
import {
  checkPing,
  checkPriority,
  checkSettings,
  headersBody,
  parseGoaway,
  protocol,
  resetCode,
  unpad,
  windowIncrement,
} from "./frame-rules.ts";
import { Flag, type FrameSink, FrameType, frame } from "./frames.ts";
import { HeaderAssembler } from "./header-assembler.ts";
import type { PeerFloods, SessionLimits } from "./limits.ts";
import type { PeerSettings } from "./peer-settings.ts";
import type { ReceiveWindow } from "./receive-window.ts";
import type { SendScheduler } from "./scheduler.ts";
import { H2Stream, type StreamHost } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** What frames can do to the session as a whole. */
export interface ReceiverHost extends StreamHost {
  readonly isClosed: boolean;
  /** Streams of the peer are served: it was not told that this is over. */
  readonly serves: boolean;
  /** Queues a frame; `later`: with whatever is written next. */
  push(bytes: Uint8Array, later?: boolean): void;
  /** There may be something to send now. */
  schedule(): void;
  /** False refuses a stream of the peer for now. */
  admit(): boolean;
  /** The peer opened a stream, which is in the table. */
  opened(stream: H2Stream): void;
  /** The peer's first SETTINGS came. */
  shookHands(): void;
  /** The peer's limits changed. */
  capacityChanged(): void;
  /** The peer answered a PING of ours. */
  pinged(payload: Uint8Array): void;
  /** The peer takes no new streams; those above `last` it never began. */
  peerLeaves(last: number, code: number): void;
}

/** What a receiver shares with its session. */
export interface ReceiverParts {
  readonly host: ReceiverHost;
  readonly limits: SessionLimits;
  readonly streams: StreamTable;
  readonly peer: PeerSettings;
  readonly window: ReceiveWindow;
  readonly scheduler: SendScheduler;
  readonly floods: PeerFloods;
}

/** Larger DATA frames gain nothing and make streams wait for each other. */
const MAX_DATA_FRAME = 64 * 1024;
const EMPTY = new Uint8Array(0);

/** See the head of this file. */
export class FrameReceiver implements FrameSink {
  readonly #host: ReceiverHost;
  readonly #limits: SessionLimits;
  readonly #streams: StreamTable;
  readonly #peer: PeerSettings;
  readonly #window: ReceiveWindow;
  readonly #scheduler: SendScheduler;
  readonly #floods: PeerFloods;
  readonly #headers: HeaderAssembler;
  #settingsSeen = false;

  constructor(parts: ReceiverParts) {
    this.#host = parts.host;
    this.#limits = parts.limits;
    this.#streams = parts.streams;
    this.#peer = parts.peer;
    this.#window = parts.window;
    this.#scheduler = parts.scheduler;
    this.#floods = parts.floods;
    this.#headers = new HeaderAssembler(parts.limits.maxHeaderList, parts.limits.maxContinuations);
  }

  /** True when the peer's first SETTINGS came. */
  get settingsSeen(): boolean {
    return this.#settingsSeen;
  }

  data(flags: number, id: number, piece: Uint8Array, last: boolean): void {
    if (this.#host.isClosed) return;
    try {
      this.#data(id, piece, piece.length, last && (flags & Flag.END_STREAM) !== 0);
    } catch (err) {
      this.#resetStream(err);
    }
  }

  frame(type: number, flags: number, id: number, payload: Uint8Array): void {
    if (this.#host.isClosed) return;
    try {
      this.#frame(type, flags, id, payload);
    } catch (err) {
      this.#resetStream(err);
    }
  }

  /** Deals with an error of one stream. @throws any other */
  #resetStream(err: unknown): void {
    if (!(err instanceof H2StreamError)) throw err;
    const stream = this.#streams.get(err.streamId);
    this.#floods.resets.hit();
    this.#host.sendReset(err.streamId, err.h2code);
    stream?.abort(err);
  }

  /** @param size bytes that count for flow control: the piece and its padding */
  #data(id: number, piece: Uint8Array, size: number, end: boolean): void {
    this.#checkOrder(FrameType.DATA);
    if (id === 0) throw protocol("DATA on stream 0");
    const given = this.#window.take(size);
    if (given > 0) this.#host.sendWindowUpdate(0, given);
    if (piece.length === 0 && !end) this.#floods.idle.hit();
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#streams.notIdle(id, "DATA");
      if (size === 0) this.#floods.idle.hit();
      return;
    }
    if (stream.remoteEnded)
      throw new H2StreamError(id, H2Code.STREAM_CLOSED, "read frame: DATA after the end");
    if (!this.#host.isServer && !stream.headersReceived)
      throw new H2StreamError(id, H2Code.PROTOCOL_ERROR, "read frame: DATA before HEADERS");
    if (size > 0) {
      const tooMuch = this.#window.hold(size);
      stream.received(size);
      if (tooMuch) throw new H2StreamError(id, H2Code.ENHANCE_YOUR_CALM, "read frame: too much unread data");
      const padding = size - piece.length;
      if (padding > 0) stream.consume(padding);
      if (piece.length > 0) stream.events.data(piece);
    }
    if (end && !stream.closed) stream.endRemote();
  }

  #frame(type: number, flags: number, id: number, payload: Uint8Array): void {
    this.#checkOrder(type);
    switch (type) {
      case FrameType.DATA:
        this.#data(id, unpad(payload, flags), payload.length, (flags & Flag.END_STREAM) !== 0);
        return;
      case FrameType.HEADERS: {
        const piece = headersBody(flags, id, payload);
        this.#headers.begin(id, (flags & Flag.END_STREAM) !== 0);
        this.#headerPiece(piece, flags);
        return;
      }
      case FrameType.CONTINUATION:
        if (id !== this.#headers.streamId) throw protocol("CONTINUATION without HEADERS");
        this.#headerPiece(payload, flags);
        return;
      case FrameType.PRIORITY:
        checkPriority(id, payload);
        this.#floods.idle.hit();
        return;
      case FrameType.RST_STREAM:
        this.#onReset(id, payload);
        return;
      case FrameType.SETTINGS:
        this.#onSettings(flags, id, payload);
        return;
      case FrameType.PUSH_PROMISE:
        throw protocol("PUSH_PROMISE");
      case FrameType.PING:
        this.#onPing(flags, id, payload);
        return;
      case FrameType.GOAWAY: {
        const { last, code } = parseGoaway(id, payload);
        this.#host.peerLeaves(last, code);
        return;
      }
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(id, payload);
        return;
      default:
        // Unknown types are ignored (RFC 9113, 5.5) but not without limit.
        this.#floods.idle.hit();
    }
  }

  #checkOrder(type: number): void {
    if (this.#headers.streamId !== 0 && type !== FrameType.CONTINUATION)
      throw protocol("another frame inside a header block");
    if (!this.#settingsSeen && type !== FrameType.SETTINGS) throw protocol("first frame is not SETTINGS");
  }

  #headerPiece(piece: Uint8Array, flags: number): void {
    const block = this.#headers.add(piece, (flags & Flag.END_HEADERS) !== 0);
    if (block === undefined) return;
    const { streamId: id, end, fields, tooLarge } = block;
    const known = this.#streams.get(id);
    if (known?.remoteEnded === true)
      throw new H2StreamError(id, H2Code.STREAM_CLOSED, "read frame: HEADERS after the end");
    if (known?.headersReceived === true && !end)
      throw new H2StreamError(id, H2Code.PROTOCOL_ERROR, "read frame: second HEADERS");
    const stream = known ?? this.#openedByPeer(id);
    if (stream === undefined) return;
    // A client waits for the answer behind those of 1xx.
    if (this.#host.isServer || fields[0]?.value.startsWith("1") !== true) stream.headersReceived = true;
    stream.events.headers(fields, end, tooLarge);
    if (end && !stream.closed) stream.endRemote();
  }

  /** The stream that a header block begins; undefined when the block is for none. */
  #openedByPeer(id: number): H2Stream | undefined {
    const host = this.#host;
    if (!host.isServer || id <= this.#streams.lastPeerId) {
      // The answer to a stream that we reset, or a stray: it was decoded to keep the table in step.
      this.#streams.notIdle(id, "HEADERS");
      this.#floods.idle.hit();
      return undefined;
    }
    this.#streams.peerOpened(id);
    if (!host.serves) return undefined;
    if (this.#streams.size >= this.#limits.maxConcurrentStreams || !host.admit())
      throw new H2StreamError(id, H2Code.REFUSED_STREAM, "read frame: too many streams");
    const stream = new H2Stream(id, host, this.#peer.initialWindow);
    this.#streams.set(id, stream);
    host.opened(stream);
    return stream;
  }

  #onReset(id: number, payload: Uint8Array): void {
    const code = resetCode(id, payload);
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#streams.notIdle(id, "RST_STREAM");
      this.#floods.idle.hit();
      return;
    }
    if (this.#host.isServer) this.#floods.resets.hit();
    stream.abort(new H2StreamError(id, code, `stream reset by peer: ${h2CodeName(code)}`));
  }

  #onSettings(flags: number, id: number, payload: Uint8Array): void {
    checkSettings(flags, id, payload);
    if ((flags & Flag.ACK) !== 0) {
      if (!this.#settingsSeen) throw protocol("first frame is not SETTINGS");
      this.#floods.idle.hit();
      return;
    }
    this.#floods.settings.hit();
    const delta = this.#peer.apply(payload);
    this.#scheduler.maxFrame = Math.min(this.#peer.maxFrame, MAX_DATA_FRAME);
    this.#host.push(frame(FrameType.SETTINGS, Flag.ACK, 0, EMPTY));
    if (delta !== 0) this.#growAll(delta);
    if (!this.#settingsSeen) {
      this.#settingsSeen = true;
      this.#host.shookHands();
    }
    this.#host.schedule();
    this.#host.capacityChanged();
  }

  /** A new initial window is for the open streams too (RFC 9113, 6.9.2); one that overflows ends the connection. */
  #growAll(delta: number): void {
    for (const stream of this.#streams.values()) {
      try {
        stream.grow(delta);
      } catch (cause) {
        throw new H2ConnectionError(H2Code.FLOW_CONTROL_ERROR, "read settings: window overflow", { cause });
      }
    }
  }

  #onPing(flags: number, id: number, payload: Uint8Array): void {
    checkPing(id, payload);
    if ((flags & Flag.ACK) === 0) {
      this.#floods.pings.hit();
      // Go's clients ask after each answer, to measure the line; busy lines are measured by what is written all the time
      this.#host.push(frame(FrameType.PING, Flag.ACK, 0, payload), true);
      return;
    }
    this.#floods.idle.hit();
    this.#host.pinged(payload);
  }

  #onWindowUpdate(id: number, payload: Uint8Array): void {
    const increment = windowIncrement(payload);
    if (id === 0) {
      if (increment === 0) throw protocol("WINDOW_UPDATE of 0");
      this.#scheduler.grow(increment);
      this.#host.schedule();
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#streams.notIdle(id, "WINDOW_UPDATE");
      return;
    }
    if (increment === 0) throw new H2StreamError(id, H2Code.PROTOCOL_ERROR, "read frame: WINDOW_UPDATE of 0");
    stream.grow(increment);
  }
}
