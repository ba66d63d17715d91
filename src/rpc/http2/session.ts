import { Buffer } from "node:buffer";
import type { ByteStream } from "../../platform/net/byte-stream.ts";
import { Output } from "../output.ts";
import { H2Code, H2ConnectionError, H2StreamError, h2CodeName } from "./errors.ts";
import {
  checkPing,
  checkPriority,
  checkSettings,
  headersBody,
  LAST_ID,
  parseGoaway,
  protocol,
  resetCode,
  unpad,
  windowIncrement,
} from "./frame-rules.ts";
import {
  Flag,
  FrameReader,
  type FrameSink,
  FrameType,
  frame,
  goawayFrame,
  headersFrames,
  numberFrame,
} from "./frames.ts";
import { HeaderAssembler } from "./header-assembler.ts";
import { helloFrames } from "./hello.ts";
import { TABLE_SIZE_ZERO } from "./hpack-encoder.ts";
import { DEFAULT_LIMITS, PeerFloods, type SessionLimits } from "./limits.ts";
import { PeerSettings } from "./peer-settings.ts";
import { PrefaceReader } from "./preface.ts";
import { ReceiveBudget } from "./receive-budget.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { SendScheduler } from "./scheduler.ts";
import { H2Stream, type StreamHost } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

/** What a session is made of. */
export interface SessionOptions {
  readonly role: "server" | "client";
  readonly limits?: Partial<SessionLimits> | undefined;
  /** Server: a stream began; set its `events` before returning. */
  readonly onStream?: ((stream: H2Stream) => void) | undefined;
  /** Server: false refuses a stream for now; refusals count against the peer. */
  readonly admit?: (() => boolean) | undefined;
  /** The peer takes no new streams on this connection. */
  readonly onGoaway?: (() => void) | undefined;
  /** A stream ended, or the peer's limits changed: a waiting call may start. */
  readonly onCapacity?: (() => void) | undefined;
  /** Last event. Undefined error: an orderly end. */
  readonly onClose?: ((error: Error | undefined) => void) | undefined;
}

/** Larger DATA frames gain nothing and make streams wait for each other. */
const MAX_DATA_FRAME = 64 * 1024;
/** How long a peer may take to read our last bytes and close. */
const LINGER_MS = 1000;
const DRAIN_PING = Buffer.from("gy-drain", "latin1");

/**
 * One HTTP/2 connection, either side (RFC 9113), over a connected socket that it owns from now on.
 *
 * Life: `open` -> `draining` (GOAWAY sent or received; running streams go on) -> `closed`. A connection error goes
 * straight to closed: GOAWAY with its code is written, all streams are aborted.
 */
export class H2Session implements StreamHost, FrameSink {
  readonly #socket: ByteStream;
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #output: Output;
  readonly #scheduler = new SendScheduler();
  readonly #reader: FrameReader;
  readonly #peer: PeerSettings;
  readonly #preface: PrefaceReader;
  readonly #streams: StreamTable;
  readonly budget: ReceiveBudget;
  readonly #headers: HeaderAssembler;
  readonly #window: ReceiveWindow;
  readonly isServer: boolean;

  readonly #floods = new PeerFloods();

  #state: "open" | "draining" | "closed" = "open";
  #settingsSeen = false;
  #firstBlock = true;
  #handshake: ReturnType<typeof setTimeout> | undefined;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #drainPinged = false;

  constructor(socket: ByteStream, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.isServer = options.role === "server";
    this.#streams = new StreamTable(this.isServer);
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#window = new ReceiveWindow(this.#limits.connectionWindow, this.#limits.maxUnread);
    this.budget = new ReceiveBudget(this.#limits.largeMessageBudget);
    this.#headers = new HeaderAssembler(this.#limits.maxHeaderList, this.#limits.maxContinuations);
    this.#peer = new PeerSettings(this.isServer);
    this.#preface = new PrefaceReader(this.isServer);
    this.#output = new Output(socket, () => {
      if (this.#scheduler.fill(this.#output) > 0) this.#floods.forgive();
    });
    this.#reader = new FrameReader(this);
    if (this.isServer) {
      this.#handshake = setTimeout(
        () => this.destroy(new Error("no handshake in time")),
        this.#limits.handshakeMs,
      );
      this.#handshake.unref?.();
    }
    for (const part of helloFrames(this.isServer, this.#limits)) this.#output.push(part);
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("end", () => this.destroy(undefined));
    socket.on("error", (err) => this.destroy(err));
    socket.on("close", () => this.destroy(undefined));
  }

  /** True when a new stream may be opened now. */
  get canOpen(): boolean {
    return this.#state === "open" && this.#streams.idsLeft && this.#streams.size < this.#peer.maxStreams;
  }

  /** False after GOAWAY either way: new calls need a new connection. */
  get isOpen(): boolean {
    return this.#state === "open" && this.#streams.idsLeft;
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Open streams. */
  get streamCount(): number {
    return this.#streams.size;
  }

  get streamWindow(): number {
    return this.#limits.streamWindow;
  }

  /** Client: opens a stream; send its headers next. Check {@link canOpen} first. */
  open(): H2Stream {
    return this.#streams.open((id) => new H2Stream(id, this, this.#peer.initialWindow));
  }

  /**
   * No new streams from the peer; the connection ends when the running ones have. In two steps, so that requests on
   * their way are still served: GOAWAY with the highest id and a PING, then GOAWAY with the true last id.
   */
  drain(): void {
    if (this.#state !== "open") return;
    this.#state = "draining";
    if (this.isServer && this.#settingsSeen) {
      this.#drainPinged = true;
      this.#output.push(goawayFrame(LAST_ID, H2Code.NO_ERROR, "draining"));
      this.#output.push(frame(FrameType.PING, 0, 0, DRAIN_PING));
      return;
    }
    this.#output.push(goawayFrame(this.#streams.lastPeerId, H2Code.NO_ERROR, ""));
    this.#maybeEnd();
  }

  /** Ends at once: streams are aborted with `error`, the peer gets GOAWAY. */
  close(error?: Error): void {
    if (this.#state === "closed") return;
    this.#output.push(goawayFrame(this.#streams.lastPeerId, H2Code.NO_ERROR, ""));
    this.#finish(error);
  }

  /** Ends without a word: the socket is gone or never spoke. */
  destroy(error: Error | undefined): void {
    if (this.#state !== "closed") {
      this.#output.stop();
      this.#finish(error);
    }
    clearTimeout(this.#linger);
    this.#socket.destroy();
  }

  #finish(error: Error | undefined): void {
    this.#state = "closed";
    clearTimeout(this.#handshake);
    const reason = error ?? new Error("connection closed");
    for (const stream of [...this.#streams.values()]) stream.abort(reason);
    this.#output.end();
    this.#linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#linger.unref?.();
    this.#options.onClose?.(error);
  }

  #maybeEnd(): void {
    if (this.#state === "draining" && this.#streams.size === 0 && !this.#drainPinged) this.#finish(undefined);
  }

  // --- receiving

  #onData(chunk: Uint8Array): void {
    if (this.#state === "closed") return;
    try {
      const rest = this.#preface.take(chunk);
      if (rest !== undefined) this.#reader.push(rest);
    } catch (err) {
      const code = err instanceof H2ConnectionError ? err.h2code : H2Code.INTERNAL_ERROR;
      const error = err instanceof Error ? err : new Error(String(err));
      this.#output.push(goawayFrame(this.#streams.lastPeerId, code, error.message));
      this.#finish(error);
    }
  }

  data(flags: number, id: number, piece: Uint8Array, last: boolean): void {
    this.#guarded(() => this.#data(flags, id, piece, piece.length, last));
  }

  frame(type: number, flags: number, id: number, payload: Uint8Array): void {
    this.#guarded(() => this.#frame(type, flags, id, payload));
  }

  #guarded(run: () => void): void {
    if (this.#state === "closed") return;
    try {
      run();
    } catch (err) {
      if (!(err instanceof H2StreamError)) throw err;
      const stream = this.#streams.get(err.streamId);
      this.#floods.resets.hit();
      this.sendReset(err.streamId, err.h2code);
      stream?.abort(err);
    }
  }

  #data(flags: number, id: number, piece: Uint8Array, size: number, last: boolean): void {
    this.#check(FrameType.DATA);
    if (id === 0) throw protocol("DATA on stream 0");
    const given = this.#window.take(size);
    if (given > 0) this.sendWindowUpdate(0, given);
    const end = last && (flags & Flag.END_STREAM) !== 0;
    if (piece.length === 0 && !end) this.#floods.idle.hit();
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#streams.notIdle(id, "DATA");
      if (size === 0) this.#floods.idle.hit();
      return;
    }
    if (stream.remoteEnded)
      throw new H2StreamError(id, H2Code.STREAM_CLOSED, "read frame: DATA after the end");
    if (!this.isServer && !stream.headersReceived)
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
    this.#check(type);
    switch (type) {
      case FrameType.DATA:
        this.#data(flags, id, unpad(payload, flags), payload.length, true);
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
      case FrameType.GOAWAY:
        this.#onGoaway(id, payload);
        return;
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(id, payload);
        return;
      default:
        // Unknown types are ignored (RFC 9113, 5.5) but not without limit.
        this.#floods.idle.hit();
    }
  }

  #check(type: number): void {
    if (this.#headers.streamId !== 0 && type !== FrameType.CONTINUATION)
      throw protocol("another frame inside a header block");
    if (!this.#settingsSeen && type !== FrameType.SETTINGS) throw protocol("first frame is not SETTINGS");
  }

  #headerPiece(piece: Uint8Array, flags: number): void {
    const block = this.#headers.add(piece, (flags & Flag.END_HEADERS) !== 0);
    if (block === undefined) return;
    const { streamId: id, end, fields, tooLarge } = block;
    let stream = this.#streams.get(id);
    if (stream === undefined) {
      if (!this.isServer || id <= this.#streams.lastPeerId) {
        // The answer to a stream that we reset, or a stray: it was decoded to keep the table in step.
        this.#streams.notIdle(id, "HEADERS");
        this.#floods.idle.hit();
        return;
      }
      this.#streams.peerOpened(id);
      if (this.#state !== "open" && !this.#drainPinged) return;
      if (this.#streams.size >= this.#limits.maxConcurrentStreams || this.#options.admit?.() === false)
        throw new H2StreamError(id, H2Code.REFUSED_STREAM, "read frame: too many streams");
      stream = new H2Stream(id, this, this.#peer.initialWindow);
      this.#streams.set(id, stream);
      this.#options.onStream?.(stream);
    } else if (stream.remoteEnded)
      throw new H2StreamError(id, H2Code.STREAM_CLOSED, "read frame: HEADERS after the end");
    else if (stream.headersReceived && !end)
      throw new H2StreamError(id, H2Code.PROTOCOL_ERROR, "read frame: second HEADERS");
    if (this.isServer || fields[0]?.value.startsWith("1") !== true) stream.headersReceived = true;
    stream.events.headers(fields, end, tooLarge);
    if (end && !stream.closed) stream.endRemote();
  }

  #onReset(id: number, payload: Uint8Array): void {
    const code = resetCode(id, payload);
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#streams.notIdle(id, "RST_STREAM");
      this.#floods.idle.hit();
      return;
    }
    if (this.isServer) this.#floods.resets.hit();
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
    this.#push(frame(FrameType.SETTINGS, Flag.ACK, 0, EMPTY));
    if (delta !== 0)
      for (const stream of this.#streams.values()) {
        try {
          stream.grow(delta);
        } catch {
          throw new H2ConnectionError(H2Code.FLOW_CONTROL_ERROR, "read settings: window overflow");
        }
      }
    if (!this.#settingsSeen) {
      this.#settingsSeen = true;
      clearTimeout(this.#handshake);
    }
    this.#output.schedule();
    this.#options.onCapacity?.();
  }

  #onPing(flags: number, id: number, payload: Uint8Array): void {
    checkPing(id, payload);
    if ((flags & Flag.ACK) === 0) {
      this.#floods.pings.hit();
      // Go's clients ask after each answer, to measure the line; busy lines are measured by what is written all the time
      this.#push(frame(FrameType.PING, Flag.ACK, 0, payload), true);
      return;
    }
    this.#floods.idle.hit();
    if (!this.#drainPinged || Buffer.compare(payload, DRAIN_PING) !== 0) return;
    this.#drainPinged = false;
    this.#push(goawayFrame(this.#streams.lastPeerId, H2Code.NO_ERROR, "draining"));
    this.#maybeEnd();
  }

  #onGoaway(id: number, payload: Uint8Array): void {
    const { last, code } = parseGoaway(id, payload);
    this.#streams.peerLeaves(last);
    if (this.#state === "open") {
      this.#state = "draining";
      this.#options.onGoaway?.();
    }
    if (!this.isServer) {
      const text = code === H2Code.NO_ERROR ? "" : `: ${h2CodeName(code)}`;
      for (const stream of [...this.#streams.values()])
        if (stream.id > last)
          stream.abort(new H2StreamError(stream.id, H2Code.REFUSED_STREAM, `connection is closing${text}`));
    }
    this.#maybeEnd();
  }

  #onWindowUpdate(id: number, payload: Uint8Array): void {
    const increment = windowIncrement(payload);
    if (id === 0) {
      if (increment === 0) throw protocol("WINDOW_UPDATE of 0");
      this.#scheduler.grow(increment);
      this.#output.schedule();
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

  // --- StreamHost

  sendHeaders(id: number, block: Uint8Array, end: boolean): void {
    let whole = block;
    if (this.#firstBlock) {
      this.#firstBlock = false;
      whole = Buffer.concat([TABLE_SIZE_ZERO, block]);
    }
    this.#floods.forgive();
    this.#push(headersFrames(id, whole, end, this.#peer.maxFrame));
  }

  sendReset(id: number, code: number): void {
    this.#push(numberFrame(FrameType.RST_STREAM, 0, id, code));
  }

  sendWindowUpdate(id: number, increment: number): void {
    this.#push(numberFrame(FrameType.WINDOW_UPDATE, 0, id, increment));
  }

  ready(stream: H2Stream): void {
    this.#scheduler.add(stream);
    this.#output.schedule();
  }

  read(bytes: number): void {
    this.#window.release(bytes);
  }

  closed(stream: H2Stream): void {
    this.#scheduler.delete(stream);
    if (!this.#streams.delete(stream.id) || this.#state === "closed") return;
    this.#options.onCapacity?.();
    this.#maybeEnd();
  }

  #push(bytes: Uint8Array, later = false): void {
    if (later) this.#output.pushLater(bytes);
    else this.#output.push(bytes);
    if (this.#output.blocked && this.#output.pending > this.#limits.maxUnsentControl + 512 * 1024)
      this.destroy(new Error("peer does not read"));
  }
}

const EMPTY = new Uint8Array(0);
