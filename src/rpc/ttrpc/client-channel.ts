import { unavailable } from "../../core/errors.ts";
import type { ByteStream } from "../../platform/net/byte-stream.ts";
import { TtrpcConnection } from "./connection.ts";

/** What the frames of one stream are handed to. */
export interface ChannelStream {
  frame(type: number, flags: number, data: Uint8Array): void;
  /** The stream is over: an oversized answer or a lost connection. */
  failed(error: Error): void;
}

/** Highest stream id; a channel that used it up is replaced. */
const LAST_ID = 0xffffffff;

/** The client's side of one connection: stream ids and who waits on them. */
export class ClientChannel {
  readonly connection: TtrpcConnection;
  readonly #streams = new Map<number, ChannelStream>();
  #nextId = 1;

  /** @param peer shown in errors */
  constructor(socket: ByteStream, peer: string, onClose: () => void) {
    this.connection = new TtrpcConnection(
      socket,
      {
        frame: (type, flags, id, data) => this.#streams.get(id)?.frame(type, flags, data),
        oversized: (_type, _flags, id, error) => this.#streams.get(id)?.failed(error),
      },
      (cause) => {
        onClose();
        const reason = cause === undefined ? "" : `: ${cause.message}`;
        const error = unavailable(`call to "${peer}": ttrpc: closed${reason}`, { cause });
        for (const stream of [...this.#streams.values()]) stream.failed(error);
        this.#streams.clear();
      },
    );
  }

  /** True when a stream can be opened. */
  get usable(): boolean {
    return !this.connection.closed && this.#nextId < LAST_ID;
  }

  /** Registers a stream; returns its id. Its Request frame must be sent before another stream is opened. */
  open(stream: ChannelStream): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#streams.set(id, stream);
    return id;
  }

  /** Frames for this id are dropped from now on. */
  forget(id: number): void {
    this.#streams.delete(id);
  }
}
