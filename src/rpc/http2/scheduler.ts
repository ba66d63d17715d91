import { Buffer } from "node:buffer";
import type { Output } from "../output.ts";
import { H2Code, H2ConnectionError } from "./errors.ts";
import {
  DEFAULT_MAX_FRAME,
  DEFAULT_WINDOW,
  Flag,
  FRAME_HEADER_SIZE,
  FrameType,
  headersFrames,
  MAX_WINDOW,
  putFrameHeader,
} from "./frames.ts";
import type { H2Stream } from "./stream.ts";

/** Bytes one stream may send before the next has its turn. */
const QUANTUM = 64 * 1024;
/** Parts up to this size are copied into the frame header's chunk. */
const COPY = 64;

/** Sends the DATA of all streams of a connection in turn, as the windows and the socket allow. */
export class SendScheduler {
  /** What the peer allows on the connection. */
  window = DEFAULT_WINDOW;
  /** Largest frame the peer takes. */
  maxFrame = DEFAULT_MAX_FRAME;
  /** Streams with output, in turn. Those out of window leave and come back when it grows. */
  readonly #ready = new Set<H2Stream>();

  add(stream: H2Stream): void {
    this.#ready.add(stream);
  }

  delete(stream: H2Stream): void {
    this.#ready.delete(stream);
  }

  /** @throws H2ConnectionError when the window would overflow */
  grow(increment: number): void {
    this.window += increment;
    if (this.window > MAX_WINDOW)
      throw new H2ConnectionError(H2Code.FLOW_CONTROL_ERROR, "read frame: connection window overflow");
  }

  /** Puts DATA that may go now into `output`. Returns the number of bytes. */
  fill(output: Output): number {
    let sent = 0;
    while (this.#ready.size > 0 && !output.blocked) {
      let moved = false;
      for (const stream of this.#ready) {
        // Leaving and re-entering a Set moves to its end: round robin.
        this.#ready.delete(stream);
        const n = this.#turn(stream, output);
        sent += n;
        if (stream.closed || !stream.hasOutput) {
          moved = true;
          continue;
        }
        if (stream.sendWindow > 0) this.#ready.add(stream);
        if (n > 0) moved = true;
        if (output.blocked || this.window <= 0) break;
      }
      if (!moved) break;
    }
    return sent;
  }

  #turn(stream: H2Stream, output: Output): number {
    let sent = 0;
    while (stream.queued > 0 && sent < QUANTUM && !output.blocked) {
      const n = Math.min(this.maxFrame, stream.sendWindow, this.window, stream.queued);
      if (n <= 0) return sent;
      const end = n === stream.queued && stream.willEndWithData;
      this.#dataFrame(stream, n, end, output);
      sent += n;
      if (end) {
        stream.sentEnd();
        return sent;
      }
    }
    if (stream.queued === 0 && stream.hasOutput) {
      const trailers = stream.trailers;
      if (trailers === undefined) this.#dataFrame(stream, 0, true, output);
      else output.push(headersFrames(stream.id, trailers, true, this.maxFrame));
      stream.sentEnd();
    }
    return sent;
  }

  #dataFrame(stream: H2Stream, n: number, end: boolean, output: Output): void {
    let head: Uint8Array | undefined = Buffer.allocUnsafe(FRAME_HEADER_SIZE + COPY);
    putFrameHeader(head, 0, n, FrameType.DATA, end ? Flag.END_STREAM : 0, stream.id);
    let fill = FRAME_HEADER_SIZE;
    stream.take(n, (part) => {
      if (head !== undefined && part.length <= head.length - fill) {
        head.set(part, fill);
        fill += part.length;
        return;
      }
      if (head !== undefined) output.push(head.subarray(0, fill));
      head = undefined;
      output.push(part);
    });
    if (head !== undefined) output.push(head.subarray(0, fill));
    this.window -= n;
  }
}
