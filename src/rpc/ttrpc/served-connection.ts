import { invalidArgument, resourceExhausted, unavailable } from "../../core/errors.ts";
import type { ByteStream } from "../../platform/net/byte-stream.ts";
import { toStatus } from "../status.ts";
import type { HandlerContext } from "../types.ts";
import { TtrpcConnection } from "./connection.ts";
import { MessageType, type TtrpcSink } from "./frames.ts";
import { encodeErrorResponse } from "./messages.ts";
import { TtrpcServerCall, type TtrpcShared } from "./server-call.ts";

/** What a connection shares with its server. */
export interface ServedConnectionParts {
  readonly shared: TtrpcShared;
  readonly maxStreams: number;
  /** Known of the process at the other end. */
  readonly peer: HandlerContext["peer"];
  /** True while the server takes no new calls. */
  isClosing(): boolean;
  onClose(connection: ServedConnection): void;
}

/** One connection of a ttrpc server: which calls run on it, and which stream ids may begin one. */
export class ServedConnection implements TtrpcSink {
  readonly #parts: ServedConnectionParts;
  readonly #connection: TtrpcConnection;
  readonly #calls = new Map<number, TtrpcServerCall>();
  /** Highest id that the client has used. */
  #last = 0;

  constructor(socket: ByteStream, parts: ServedConnectionParts) {
    this.#parts = parts;
    this.#connection = new TtrpcConnection(socket, this, () => {
      parts.onClose(this);
      for (const call of [...this.#calls.values()]) call.lost();
    });
  }

  close(): void {
    this.#connection.close();
  }

  frame(type: number, flags: number, id: number, data: Uint8Array): void {
    if (type === MessageType.REQUEST) this.#begin(flags, id, data);
    else if (type === MessageType.DATA) this.#calls.get(id)?.data(flags, data);
    // Anything else is for a later version of the protocol.
  }

  oversized(type: number, _flags: number, id: number, error: Error): void {
    const running = this.#calls.get(id);
    if (running !== undefined) running.cancel(error);
    else if (type === MessageType.REQUEST) {
      this.#last = Math.max(this.#last, id);
      this.#refuse(id, error);
    }
  }

  #begin(flags: number, id: number, data: Uint8Array): void {
    const reason = this.#refusal(id);
    if (reason !== undefined) {
      this.#refuse(id, reason);
      return;
    }
    const { shared, peer } = this.#parts;
    const call = new TtrpcServerCall(id, this.#connection, shared, () => this.#calls.delete(id));
    this.#calls.set(id, call);
    call.start(flags, data, peer);
  }

  #refusal(id: number): Error | undefined {
    const { maxStreams } = this.#parts;
    if ((id & 1) === 0) return invalidArgument("StreamID must be odd for client initiated streams");
    if (id <= this.#last) return invalidArgument("StreamID cannot be re-used and must increment");
    this.#last = id;
    if (this.#parts.isClosing()) return unavailable("server is stopping");
    return this.#calls.size < maxStreams ? undefined : resourceExhausted(`more than ${maxStreams} streams`);
  }

  #refuse(id: number, err: unknown): void {
    this.#connection.send(MessageType.RESPONSE, 0, id, encodeErrorResponse(toStatus(err)));
  }
}
