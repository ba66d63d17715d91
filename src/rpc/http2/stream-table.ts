import { LAST_ID, protocol } from "./frame-rules.ts";
import type { H2Stream } from "./stream.ts";

/** The open streams of a connection by id, and which ids were used (RFC 9113, 5.1.1). */
export class StreamTable extends Map<number, H2Stream> {
  readonly #isServer: boolean;
  #nextId = 1;
  #goawayLast = LAST_ID;
  /** Highest id the peer opened. */
  lastPeerId = 0;

  constructor(isServer: boolean) {
    super();
    this.#isServer = isServer;
  }

  /** False when the ids of this connection are used up. */
  get idsLeft(): boolean {
    return this.#nextId < LAST_ID;
  }

  /** Client: the next stream. */
  open(make: (id: number) => H2Stream): H2Stream {
    const stream = make(this.#nextId);
    this.#nextId += 2;
    this.set(stream.id, stream);
    return stream;
  }

  /** Server: the peer used an id, whether its stream is taken or not. @throws H2ConnectionError for an id of ours */
  peerOpened(id: number): void {
    if ((id & 1) === 0) throw protocol("client opened an even stream");
    this.lastPeerId = id;
  }

  /** The peer's GOAWAY: streams above `last` were not processed. @throws H2ConnectionError when it takes back an earlier one */
  peerLeaves(last: number): void {
    if (last > this.#goawayLast) throw protocol("GOAWAY raised its last stream");
    this.#goawayLast = last;
  }

  /** @throws H2ConnectionError for a frame on a stream that nobody has opened */
  notIdle(id: number, what: string): void {
    const opened = (id & 1) === 1 && (this.#isServer ? id <= this.lastPeerId : id < this.#nextId);
    if (!opened) throw protocol(`${what} on idle stream`);
  }
}
