import { H2Code, H2ConnectionError } from "./errors.ts";
import { DEFAULT_MAX_FRAME, DEFAULT_WINDOW, MAX_WINDOW, Setting, u32 } from "./frames.ts";

/** What the peer's SETTINGS say, with the defaults of RFC 9113, 6.5.2. */
export class PeerSettings {
  readonly #ofClient: boolean;
  initialWindow = DEFAULT_WINDOW;
  maxFrame = DEFAULT_MAX_FRAME;
  /** Streams we may open; unlimited until the peer says otherwise. */
  maxStreams = Number.POSITIVE_INFINITY;

  /** @param ofClient true on a server: the peer is a client, which alone may send ENABLE_PUSH 1 */
  constructor(ofClient: boolean) {
    this.#ofClient = ofClient;
  }

  /**
   * Takes a SETTINGS payload. Returns by how much every open stream's send window changes.
   * @throws H2ConnectionError on values out of range
   */
  apply(payload: Uint8Array): number {
    const before = this.initialWindow;
    for (let at = 0; at < payload.length; at += 6) {
      const id = ((payload[at] as number) << 8) | (payload[at + 1] as number);
      this.#set(id, u32(payload, at + 2));
    }
    return this.initialWindow - before;
  }

  #set(id: number, value: number): void {
    switch (id) {
      case Setting.INITIAL_WINDOW_SIZE:
        if (value > MAX_WINDOW) throw bad(H2Code.FLOW_CONTROL_ERROR, `initial window ${value}`);
        this.initialWindow = value;
        return;
      case Setting.MAX_FRAME_SIZE:
        if (value < DEFAULT_MAX_FRAME || value > 0xffffff)
          throw bad(H2Code.PROTOCOL_ERROR, `frame size ${value}`);
        this.maxFrame = value;
        return;
      case Setting.ENABLE_PUSH:
        if (value > 1 || (value === 1 && !this.#ofClient)) throw bad(H2Code.PROTOCOL_ERROR, `push ${value}`);
        return;
      case Setting.MAX_CONCURRENT_STREAMS:
        this.maxStreams = value;
        return;
      default:
      // HEADER_TABLE_SIZE and MAX_HEADER_LIST_SIZE bound what we do not use; unknown ones are ignored.
    }
  }
}

function bad(code: number, what: string): H2ConnectionError {
  return new H2ConnectionError(code, `read settings: ${what} is not allowed`);
}
