/** Streams a client opened by id (Streaming service), used by transfer for data, progress, credentials. */
import type { AnyValue } from "../any.ts";
import type { NamespacedCall } from "../call.ts";

/** One open bidirectional stream of typed messages. */
export interface AnyStream {
  readonly id: string;
  /** Sends; resolves when more may be sent. @throws unavailable when the peer left */
  send(message: AnyValue): Promise<void>;
  /** Next message, or undefined at the end. */
  receive(signal?: AbortSignal): Promise<AnyValue | undefined>;
  close(): void;
}

/** Registry of open streams. */
export interface StreamManager {
  /** @throws already-exists */
  register(call: NamespacedCall, stream: AnyStream): Disposable;
  /** @throws not-found */
  get(call: NamespacedCall, id: string): AnyStream;
}
