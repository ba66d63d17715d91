import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import { createFdSink, type FdSink, readFd } from "../../platform/fs/fd-stream.ts";
import { close } from "../../platform/syscalls/files.ts";

/** A connected socket, given as kernel fd (which it takes over), as a stream. */
export class FdDuplex extends Duplex {
  readonly #sink: FdSink;
  readonly #stop = new AbortController();

  constructor(fd: number) {
    super({ allowHalfOpen: false });
    this.#sink = createFdSink(fd);
    const chunks = readFd(fd, this.#stop.signal);
    // the reader has made its own duplicate once it is asked for the first time
    void this.#pump(chunks).finally(() => close(fd));
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: string, done: (err?: Error | null) => void): void {
    this.#sink.write(chunk).then(
      () => done(),
      (err: unknown) => done(err as Error),
    );
  }

  override _destroy(err: Error | null, done: (err?: Error | null) => void): void {
    this.#stop.abort();
    this.#sink.close(true).then(
      () => done(err),
      () => done(err),
    );
  }

  async #pump(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of chunks) this.push(Buffer.from(chunk));
    } catch {
      // reset by the other side: the end
    }
    if (!this.destroyed) this.push(null);
  }
}
