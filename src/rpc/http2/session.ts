import { Buffer } from "node:buffer";
import type { ByteStream } from "../../platform/net/byte-stream.ts";
import { Output } from "../output.ts";
import { H2Code, H2ConnectionError, H2StreamError, h2CodeName } from "./errors.ts";
import { FrameReceiver, type ReceiverHost } from "./frame-receiver.ts";
import { LAST_ID } from "./frame-rules.ts";
import { FrameReader, FrameType, frame, goawayFrame, headersFrames, numberFrame } from "./frames.ts";
import { helloFrames } from "./hello.ts";
import { TABLE_SIZE_ZERO } from "./hpack-encoder.ts";
import { DEFAULT_LIMITS, PeerFloods, type SessionLimits } from "./limits.ts";
import { PeerSettings } from "./peer-settings.ts";
import { PrefaceReader } from "./preface.ts";
import { ReceiveBudget } from "./receive-budget.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { SendScheduler } from "./scheduler.ts";
import { H2Stream } from "./stream.ts";
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

/** How long a peer may take to read our last bytes and close. */
const LINGER_MS = 1000;
/** Bytes of DATA that may wait for the socket beside control frames: `Output` holds less than twice its high water mark. */
const UNSENT_DATA = 512 * 1024;
const DRAIN_PING = Buffer.from("gy-drain", "latin1");

/**
 * One HTTP/2 connection, either side (RFC 9113), over a connected socket that it owns from now on: its life, and what it
 * sends. What the peer's frames do is in frame-receiver.ts.
 *
 * Life: `open` -> `draining` (GOAWAY sent or received; running streams go on) -> `closed`. A connection error goes
 * straight to closed: GOAWAY with its code is written, all streams are aborted.
 */
export class H2Session implements ReceiverHost {
  readonly isServer: boolean;
  readonly budget: ReceiveBudget;
  readonly #socket: ByteStream;
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #output: Output;
  readonly #preface: PrefaceReader;
  readonly #reader: FrameReader;
  readonly #receiver: FrameReceiver;
  readonly #streams: StreamTable;
  readonly #peer: PeerSettings;
  readonly #window: ReceiveWindow;
  readonly #scheduler = new SendScheduler();
  readonly #floods = new PeerFloods();

  #state: "open" | "draining" | "closed" = "open";
  /** The first of the two GOAWAYs of {@link drain} is sent, the PING behind it not yet answered. */
  #drainPinged = false;
  #firstBlock = true;
  #handshake: ReturnType<typeof setTimeout> | undefined;
  #linger: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: ByteStream, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.isServer = options.role === "server";
    this.#streams = new StreamTable(this.isServer);
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#window = new ReceiveWindow(this.#limits.connectionWindow, this.#limits.maxUnread);
    this.budget = new ReceiveBudget(this.#limits.largeMessageBudget);
    this.#peer = new PeerSettings(this.isServer);
    this.#preface = new PrefaceReader(this.isServer);
    this.#output = new Output(socket, () => {
      if (this.#scheduler.fill(this.#output) > 0) this.#floods.forgive();
    });
    this.#receiver = new FrameReceiver({
      host: this,
      limits: this.#limits,
      streams: this.#streams,
      peer: this.#peer,
      window: this.#window,
      scheduler: this.#scheduler,
      floods: this.#floods,
    });
    this.#reader = new FrameReader(this.#receiver);
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

  /** Client: opens a stream; send its headers next. Check {@link canOpen} first. */
  open(): H2Stream {
    return this.#streams.open((id) => new H2Stream(id, this, this.#peer.initialWindow));
  }

  // --- the end

  /**
   * No new streams from the peer; the connection ends when the running ones have. In two steps, so that requests on
   * their way are still served: GOAWAY with the highest id and a PING, then GOAWAY with the true last id.
   */
  drain(): void {
    if (this.#state !== "open") return;
    this.#state = "draining";
    if (this.isServer && this.#receiver.settingsSeen) {
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

  // --- for the receiver

  get serves(): boolean {
    return this.#state === "open" || this.#drainPinged;
  }

  admit(): boolean {
    return this.#options.admit?.() !== false;
  }

  opened(stream: H2Stream): void {
    this.#options.onStream?.(stream);
  }

  shookHands(): void {
    clearTimeout(this.#handshake);
  }

  capacityChanged(): void {
    this.#options.onCapacity?.();
  }

  pinged(payload: Uint8Array): void {
    if (!this.#drainPinged || Buffer.compare(payload, DRAIN_PING) !== 0) return;
    this.#drainPinged = false;
    this.push(goawayFrame(this.#streams.lastPeerId, H2Code.NO_ERROR, "draining"));
    this.#maybeEnd();
  }

  peerLeaves(last: number, code: number): void {
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

  push(bytes: Uint8Array, later = false): void {
    if (later) this.#output.pushLater(bytes);
    else this.#output.push(bytes);
    if (this.#output.blocked && this.#output.pending > this.#limits.maxUnsentControl + UNSENT_DATA)
      this.destroy(new Error("peer does not read"));
  }

  schedule(): void {
    this.#output.schedule();
  }

  // --- for streams

  get streamWindow(): number {
    return this.#limits.streamWindow;
  }

  sendHeaders(id: number, block: Uint8Array, end: boolean): void {
    let whole = block;
    if (this.#firstBlock) {
      this.#firstBlock = false;
      whole = Buffer.concat([TABLE_SIZE_ZERO, block]);
    }
    this.#floods.forgive();
    this.push(headersFrames(id, whole, end, this.#peer.maxFrame));
  }

  sendReset(id: number, code: number): void {
    this.push(numberFrame(FrameType.RST_STREAM, 0, id, code));
  }

  sendWindowUpdate(id: number, increment: number): void {
    this.push(numberFrame(FrameType.WINDOW_UPDATE, 0, id, increment));
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
}
