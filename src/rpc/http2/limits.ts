import { H2Code, H2ConnectionError } from "./errors.ts";

/** Limits of one HTTP/2 connection. Bytes and counts. */
export interface SessionLimits {
  /** Receive window of a stream. */
  readonly streamWindow: number;
  /** Receive window of the connection. */
  readonly connectionWindow: number;
  /** Streams the peer may have open. */
  readonly maxConcurrentStreams: number;
  /** Decoded header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts it; the coded block has the same limit. */
  readonly maxHeaderList: number;
  /** CONTINUATION frames of one header block. */
  readonly maxContinuations: number;
  /** Bytes of messages larger than the stream window that may be incomplete at the same time. */
  readonly largeMessageBudget: number;
  /** Bytes received and not taken by any reader, over all streams; more resets the stream that sent last. */
  readonly maxUnread: number;
  /** Bytes of control frames waiting for a peer that does not read. */
  readonly maxUnsentControl: number;
  /** Milliseconds a client has for the preface and its first SETTINGS. */
  readonly handshakeMs: number;
}

export const DEFAULT_LIMITS: SessionLimits = {
  streamWindow: 1 << 20,
  connectionWindow: 8 << 20,
  maxConcurrentStreams: 4096,
  maxHeaderList: 64 << 10,
  maxContinuations: 16,
  largeMessageBudget: 64 << 20,
  maxUnread: 256 << 20,
  maxUnsentControl: 1 << 20,
  handshakeMs: 10_000,
};

/**
 * Counts frames that cost us work and bring the peer nothing (CVE-2019-9512, -9514, -9515, CVE-2023-44487,
 * CVE-2024-27983). A token bucket: `burst` events at once, `perSecond` for ever after.
 */
export class FloodGuard {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #what: string;
  #tokens: number;
  #at = performance.now();

  constructor(what: string, burst: number, perSecond: number) {
    this.#what = what;
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** @throws H2ConnectionError ENHANCE_YOUR_CALM when there were too many */
  hit(): void {
    if (this.#tokens >= 1) {
      this.#tokens--;
      return;
    }
    const now = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    if (this.#tokens < 1)
      throw new H2ConnectionError(H2Code.ENHANCE_YOUR_CALM, `read frame: too many ${this.#what}`);
    this.#tokens--;
  }

  /** Real work happened: the count starts again. */
  forgive(): void {
    this.#tokens = this.#burst;
  }
}

/** Streams a peer may reset, or open over the limit, at once: cancelling every call of a busy client passes. */
const RESET_BURST = 1000;

/** What is counted of one peer. */
export class PeerFloods {
  readonly pings = new FloodGuard("PING frames", 1000, 100);
  readonly settings = new FloodGuard("SETTINGS frames", 100, 10);
  readonly idle = new FloodGuard("frames without effect", 1000, 100);
  readonly resets = new FloodGuard("reset streams", RESET_BURST, 200);

  /** Real work happened. Resets are not forgiven: each of them was work that was thrown away. */
  forgive(): void {
    this.pings.forgive();
    this.idle.forgive();
    this.settings.forgive();
  }
}
