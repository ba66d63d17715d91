/**
 * What the streaming server needs from the engine: run a command, attach to a container, reach a port of a pod. Byte streams
 * and terminal sizes only; nothing here knows HTTP, SPDY or WebSocket.
 *
 * Life of a session: the server has a client's connection and calls one method; the method's promise is the session. When it
 * settles, the server closes the sinks, tells the client the outcome and ends the connection. When the client leaves first,
 * `signal` aborts, sources end, writes are refused; the method should then let go of what it holds and settle.
 */

/** Chunks in order; ends at the client's half-close, and when the client is gone (then `signal` is aborted). One reader. */
export type ByteSource = AsyncIterable<Uint8Array>;

/** Somewhere to write. */
export interface ByteSink {
  /**
   * Resolves when there is room for more. The chunk must not be changed afterwards.
   * @throws canceled when the client is gone or the sink is closed
   */
  write(chunk: Uint8Array): Promise<void>;
  /** Tells the client that nothing more comes. Idempotent, never throws. */
  close(): Promise<void>;
}

/** Size of a terminal in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Standard streams of a session. A stream that the request did not ask for is absent. */
export interface StdioStreams {
  readonly stdin?: ByteSource;
  readonly stdout?: ByteSink;
  readonly stderr?: ByteSink;
  /** Sizes as the client's terminal changes; ends with the session. At most the newest unread sizes are kept. */
  readonly resize: AsyncIterable<TerminalSize>;
  /** Aborted when the client is gone or the server closes. */
  readonly signal: AbortSignal;
}

/** Which streams of a container's process a client wants. */
export interface AttachRequest {
  readonly containerId: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** A command to run in a container. */
export interface ExecRequest extends AttachRequest {
  readonly command: readonly string[];
}

/** Both directions of one forwarded connection. */
export interface ForwardedConnection {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  /** Aborted when the client dropped this connection or all of them. */
  readonly signal: AbortSignal;
}

/** The engine's side of exec, attach and port-forward. */
export interface StreamingRuntime {
  /**
   * Runs the command to its end.
   * @returns its exit code
   * @throws when it cannot be started; the text reaches the client
   */
  exec(request: ExecRequest, streams: StdioStreams): Promise<number>;
  /**
   * Connects to the container's process until that ends or the client leaves.
   * @throws when the container cannot be attached to
   */
  attach(request: AttachRequest, streams: StdioStreams): Promise<void>;
  /**
   * Connects to `port` of the pod's loopback and copies until both directions ended.
   * @throws when the port cannot be reached; the text reaches the client
   */
  portForward(podId: string, port: number, connection: ForwardedConnection): Promise<void>;
}
