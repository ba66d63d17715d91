/** What one client, and all of them together, may make the server hold. */
export interface StreamingLimits {
  /** Connections at a time. */
  readonly connections: number;
  /** Tokens given out and not used yet; more are refused as containerd does. */
  readonly tokens: number;
  /** Life of a token, milliseconds. */
  readonly tokenLifeMs: number;
  /** Bytes received and not yet taken by the runtime, for each connection; then the server stops reading. */
  readonly inboundBytes: number;
  /** Bytes waiting for the client, for each connection; then writers wait. */
  readonly outboundBytes: number;
  /** Largest SPDY control frame, compressed. Bytes. */
  readonly controlFrameBytes: number;
  /** Largest header block once inflated. Bytes. */
  readonly headerBytes: number;
  /** SPDY streams of a connection at a time; a forward counts until the runtime let go of it. */
  readonly streams: number;
  /** Streams refused (too many, or of no use) before the connection is ended. */
  readonly refusals: number;
  /** Largest WebSocket frame. Bytes. */
  readonly webSocketFrameBytes: number;
  /** Time for a client to open the streams its request asks for, milliseconds. */
  readonly streamCreationMs: number;
  /** A connection without a byte in either direction for so long is ended, milliseconds. */
  readonly idleMs: number;
  /** Time for a client to send its request's headers, milliseconds. */
  readonly headersMs: number;
  /** Time for a client to close its side once the session ended and all was sent, milliseconds. */
  readonly lingerMs: number;
}

export const DEFAULT_LIMITS: StreamingLimits = {
  connections: 1024,
  tokens: 1000,
  tokenLifeMs: 60_000,
  inboundBytes: 1 << 20,
  outboundBytes: 256 << 10,
  controlFrameBytes: 16 << 10,
  headerBytes: 64 << 10,
  streams: 1024,
  refusals: 1000,
  webSocketFrameBytes: 16 << 20,
  streamCreationMs: 30_000,
  idleMs: 4 * 3_600_000,
  headersMs: 10_000,
  lingerMs: 30_000,
};
