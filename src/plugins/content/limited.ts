/** An end to every answer of a content store that is not ours. */
import type { NamespacedCall } from "../../core/call.ts";
import type { BlobReader, ContentStore, ContentWriter } from "../../core/content/content.ts";
import { deadlineExceeded } from "../../core/errors.ts";

/** Ends the work on one stream when an answer takes too long. */
class Patience {
  readonly call: NamespacedCall;
  readonly #stop = new AbortController();
  readonly #ms: number;

  constructor(call: NamespacedCall, ms: number) {
    this.call = call.until(this.#stop.signal);
    this.#ms = ms;
  }

  /** @throws deadline-exceeded when `work` takes longer than an answer may */
  async wait<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const err = deadlineExceeded(`no answer from the content store for ${this.#ms} ms`);
        reject(err);
        this.#stop.abort(err);
      }, this.#ms);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Each part has its own time; what the consumer takes does not count. */
  async *each<T>(source: AsyncIterable<T>): AsyncGenerator<T, void, void> {
    const parts = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.wait(parts.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      void parts.return?.().catch(() => {});
    }
  }
}

/** `store`, where each answer, and each part of a stream, takes `ms` milliseconds at most. Long streams are fine. */
export function limitedContent(store: ContentStore, ms: number): ContentStore {
  return {
    info: (call, digest) => store.info(call.within(ms), digest),
    update: (call, digest, labels, fields) => store.update(call.within(ms), digest, labels, fields),
    walk(call, filters) {
      const patience = new Patience(call, ms);
      return patience.each(store.walk(patience.call, filters));
    },
    delete: (call, digest) => store.delete(call.within(ms), digest),
    async reader(call, digest) {
      const patience = new Patience(call, ms);
      return limitedReader(await patience.wait(store.reader(patience.call, digest)), patience);
    },
    status: (call, ref) => store.status(call.within(ms), ref),
    statuses: (call, filters) => store.statuses(call.within(ms), filters),
    abort: (call, ref) => store.abort(call.within(ms), ref),
    async writer(call, options) {
      const patience = new Patience(call, ms);
      return limitedWriter(await patience.wait(store.writer(patience.call, options)), patience);
    },
  };
}

function limitedReader(reader: BlobReader, patience: Patience): BlobReader {
  const close = (): Promise<void> => reader.close();
  return {
    size: reader.size,
    readAt: (offset, length) => patience.wait(reader.readAt(offset, length)),
    stream: (offset) => patience.each(reader.stream(offset)),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function limitedWriter(writer: ContentWriter, patience: Patience): ContentWriter {
  const close = (): Promise<void> => patience.wait(writer.close());
  return {
    status: () => writer.status(),
    write: (data) => patience.wait(writer.write(data)),
    truncate: (size) => patience.wait(writer.truncate(size)),
    digest: () => writer.digest(),
    commit: (size, expected, labels) => patience.wait(writer.commit(size, expected, labels)),
    close,
    [Symbol.asyncDispose]: close,
  };
}
