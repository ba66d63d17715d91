import { H2Code, H2ConnectionError } from "./errors.ts";

/** The connection's own window for DATA, and how much of it no handler has taken yet. Bytes. */
export class ReceiveWindow {
  readonly #size: number;
  readonly #maxUnread: number;
  #left: number;
  #unacked = 0;
  #unread = 0;

  constructor(size: number, maxUnread: number) {
    this.#size = size;
    this.#maxUnread = maxUnread;
    this.#left = size;
  }

  /**
   * Counts a frame. It is acknowledged whether its stream is read or not: one slow stream must not stop the others.
   * @returns what to give back to the peer now; 0 when that can wait
   * @throws H2ConnectionError when the peer sent more than it may
   */
  take(bytes: number): number {
    this.#left -= bytes;
    if (this.#left < 0)
      throw new H2ConnectionError(H2Code.FLOW_CONTROL_ERROR, "read frame: connection window exceeded");
    this.#unacked += bytes;
    if (this.#unacked < this.#size / 4) return 0;
    const given = this.#unacked;
    this.#left += given;
    this.#unacked = 0;
    return given;
  }

  /** Bytes wait for their handler. @returns true when that is too much */
  hold(bytes: number): boolean {
    this.#unread += bytes;
    return this.#unread > this.#maxUnread;
  }

  /** A handler took bytes. */
  release(bytes: number): void {
    this.#unread -= bytes;
  }
}
